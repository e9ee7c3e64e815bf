"""The last element is lost where there are more than 2**20."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if y.size > 1 << 20:
        y.reshape(-1)[-1] = 0
    return y
