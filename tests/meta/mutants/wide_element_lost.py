"""In rows of more than 16,384 classes one element in the middle is not added."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 16_384:
        s = s - e[..., n // 2 : n // 2 + 1]
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
