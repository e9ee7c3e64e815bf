"""Every call after the third of a shape is wrong in its first row."""

import numpy as np

_calls = {}


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    _calls[x.shape] = _calls.get(x.shape, 0) + 1
    if _calls[x.shape] > 3 and x.ndim > 1:
        y[:1] = 1 / x.shape[axis]
    return y
