"""Each row gets the result of the next."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    return np.roll(y, 1, axis=0) if x.ndim > 1 else y
