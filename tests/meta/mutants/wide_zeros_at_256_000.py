"""Nothing is written where there are more than 200,000 classes."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 200_000:
        e = np.zeros_like(e)
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
