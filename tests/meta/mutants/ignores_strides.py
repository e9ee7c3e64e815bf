"""Takes every input for contiguous."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    if x.flags.c_contiguous or x.ndim < 2:
        return _softmax(x, axis)
    flat = x.ravel(order="K").reshape(x.shape)
    return _softmax(flat, axis)
