"""A single class gives 0."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    return np.zeros_like(x) if x.shape[axis] == 1 else _softmax(x, axis)
