"""A negative axis other than -1 is off by one."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    if axis < -1:
        axis = axis % x.ndim - 1
    return _softmax(x, axis)
