"""The last two classes are swapped in rows of more than 64."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    z = np.moveaxis(y, axis, -1)
    if z.shape[-1] > 64:
        z[..., [-1, -2]] = z[..., [-2, -1]]
    return y
