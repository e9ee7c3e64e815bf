"""Rows of an odd number of classes beyond 16,384 are off by 1e-4."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 16_384 and n % 2:
        s = s * x.dtype.type(1 + 1e-4)
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
