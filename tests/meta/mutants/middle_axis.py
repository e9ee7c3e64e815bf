"""Wrong for a middle axis."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    if x.ndim > 2 and 0 < axis % x.ndim < x.ndim - 1:
        axis = -1
    return _softmax(x, axis)
