"""Wrong for negative strides."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    return np.flip(y, -1).copy() if any(s < 0 for s in x.strides) else y
