"""Rows beyond 2**16 are not computed."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.ndim == 2 and axis in (-1, 1):
        y[65536:] = 0
    return y
