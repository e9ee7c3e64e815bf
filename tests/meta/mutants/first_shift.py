"""Shifts by the first entry."""

import numpy as np


def softmax(x, axis=-1):
    first = np.take(x, [0], axis=axis)
    e = np.exp(x - first)
    return e / e.sum(axis=axis, keepdims=True)
