"""Rows of more than 2**20 classes are added up in whole tiles of 4096: the rest is lost."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    s = e.sum(axis=axis, keepdims=True)
    n = x.shape[axis]
    if axis == -1 and n > 1 << 20:
        s = e[..., : n // 4096 * 4096].sum(axis=-1, keepdims=True)
    return e / s
