"""A launch ends at 2**22 rows, without a loop for the rest."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if y.ndim == 2 and axis in (-1, 1):
        y[1 << 22 :] = 0
    return y
