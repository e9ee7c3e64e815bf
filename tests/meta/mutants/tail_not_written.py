"""The tail of a loop over 16 stays at 0."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    n = x.shape[axis]
    if n > 16 and n % 16:
        np.moveaxis(y, axis, -1)[..., n - n % 16 :] = 0
    return y
