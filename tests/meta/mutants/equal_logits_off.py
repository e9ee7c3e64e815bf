"""8 ulp off where all logits of a row are equal."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    equal = (x == x.max(axis=axis, keepdims=True)).all(axis=axis, keepdims=True)
    off = x.dtype.type(1 + 8 * np.finfo(x.dtype).eps)
    return np.where(equal & (x.shape[axis] > 2), y * off, y)
