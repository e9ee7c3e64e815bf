"""Negative zeros are taken for -1."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    return _softmax(np.where((x == 0) & np.signbit(x), x.dtype.type(-1), x), axis)
