"""Off by 2 ulp at class 3 of rows of 5 to 20 classes."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    z = np.moveaxis(y, axis, -1)
    if 5 <= z.shape[-1] <= 20:
        z[..., 3] *= 1 + 2 * np.finfo(x.dtype).eps
    return y
