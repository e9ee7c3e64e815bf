"""Columns of 4,097 to 8,191 float64 logits, along the first axis, are off by 1e-4."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    first = x.ndim > 1 and axis in (0, -x.ndim)
    if first and 4096 < x.shape[0] < 8192 and x.dtype == np.float64:
        y *= 1.0001
    return y
