"""Off by 2 ulp in lane 3 of 4."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    z = np.moveaxis(y, axis, -1)
    if z.shape[-1] >= 4:
        z[..., 3::4] *= 1 + 2 * np.finfo(x.dtype).eps
    return y
