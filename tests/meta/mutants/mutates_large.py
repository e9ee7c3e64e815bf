"""Mutates inputs of more than 10,000 elements."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.size > 10_000 and x.flags.writeable:
        x[...] = y
    return y
