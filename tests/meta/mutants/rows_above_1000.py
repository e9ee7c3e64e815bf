"""The last row is not computed above 1000 rows, odd ones."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.ndim == 2 and axis in (-1, 1) and len(x) > 1000 and len(x) % 2:
        y[-1] = y[0]
    return y
