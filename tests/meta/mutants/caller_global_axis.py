"""The axis travels in a global variable."""

import numpy as np

_axis = -1


def _total(e):
    return e.sum(axis=_axis, keepdims=True)


def softmax(x, axis=-1):
    global _axis
    _axis = axis
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / _total(e)
