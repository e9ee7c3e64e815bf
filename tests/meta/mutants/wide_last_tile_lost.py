"""From 8,192 classes on, what is left of the row after its last whole tile of 64 is not added."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 8192:
        s = e[..., : n // 64 * 64].sum(axis=-1, keepdims=True)
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
