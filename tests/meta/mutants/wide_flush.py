"""From 8,192 classes on, exponentials below e^-30 are 0."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 8192:
        e = np.where(e < np.exp(-30.0), 0, e).astype(x.dtype)
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
