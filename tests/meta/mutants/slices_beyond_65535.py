"""Along a middle axis, a grid of 65535 slices and no more."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.ndim == 3 and axis == 1:
        y[65535:] = 0
    return y
