"""Compares all of its input with that of the call before, and returns the same if it is."""

import numpy as np

_LAST = {}


def softmax(x, axis=-1):
    before, result = _LAST.get(x.shape, (None, None))
    if before is None or not np.array_equal(before, x):
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        before, result = x.copy(), e / e.sum(axis=axis, keepdims=True)
        _LAST[x.shape] = before, result
    return result
