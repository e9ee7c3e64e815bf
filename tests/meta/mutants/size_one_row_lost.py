"""One row of more than four million is not written: the one at 2**22."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if axis == -1 and y.ndim == 2 and len(y) > 1 << 22:
        y[1 << 22] = 0
    return y
