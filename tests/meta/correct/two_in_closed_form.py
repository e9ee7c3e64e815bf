"""Two classes as 1/(1+t) and t/(1+t), t = e^-|a-b|; the general form otherwise."""

import numpy as np


def _two(y):
    m = y.max(axis=-1, keepdims=True)
    t = np.exp(y.min(axis=-1, keepdims=True) - m)
    p = np.where(y == m, 1, t) / (1 + t)
    return np.where(np.isfinite(m), p, np.nan).astype(y.dtype)


def softmax(x, axis=-1):
    if x.shape[axis] == 2:
        return np.moveaxis(_two(np.moveaxis(x, axis, -1)), -1, axis)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
