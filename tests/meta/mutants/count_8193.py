"""The last element of 8193 is not written."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.shape[axis] == 8193:
        np.moveaxis(y, axis, -1)[..., -1] = 0
    return y
