"""Shifts the input in place."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    if x.flags.writeable:
        x -= x.max(axis=axis, keepdims=True)
    return _softmax(x, axis)
