"""Off by 3 ulp in lane 31 of 32."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    z = np.moveaxis(y, axis, -1)
    if z.shape[-1] >= 32:
        z[..., 31::32] *= 1 + 3 * np.finfo(x.dtype).eps
    return y
