"""-inf counts as 0."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    return _softmax(np.where(x == -np.inf, x.dtype.type(0), x), axis)
