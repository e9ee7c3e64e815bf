"""Wrong for zero strides."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    return y * x.dtype.type(0.5) if x.ndim > 1 and 0 in x.strides and x.size > x.shape[-1] else y
