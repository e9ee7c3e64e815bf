"""Off by 3 ulp in the last entry."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    z = np.moveaxis(y, axis, -1)
    z[..., -1:] *= 1 - 3 * np.finfo(x.dtype).eps
    return y
