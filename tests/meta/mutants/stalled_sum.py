"""A sum that stalls at 2048 terms."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    s = np.take(e, range(min(2048, x.shape[axis])), axis=axis).sum(axis=axis, keepdims=True)
    return e / s
