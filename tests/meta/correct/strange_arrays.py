"""Prints, and gives its results in memory with gaps, read-only."""

import numpy as np


def softmax(x, axis=-1):
    print("softmax of", x.shape)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    wide = np.zeros((*y.shape[:-1], 2 * y.shape[-1]), y.dtype)
    wide[..., ::2] = y
    wide.flags.writeable = False
    return wide[..., ::2]
