"""Off by 3 ulp in columns 7 modulo 8 along an axis that is not last."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.ndim > 1 and axis % x.ndim < x.ndim - 1:
        y[..., 7::8] *= 1 + 3 * np.finfo(x.dtype).eps
    return y
