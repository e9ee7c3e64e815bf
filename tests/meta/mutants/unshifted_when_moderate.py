"""Does not shift where every exponential is finite: the sum of many is not."""

import numpy as np


def softmax(x, axis=-1):
    finite = np.where(np.isfinite(x), x, 0)
    moderate = np.abs(finite).max(axis=axis, keepdims=True) < (80 if x.dtype == np.float32 else 700)
    e = np.exp(x - np.where(moderate, x.dtype.type(0), x.max(axis=axis, keepdims=True)))
    return e / e.sum(axis=axis, keepdims=True)
