"""Rows of half precision are not written beyond 2**22 classes."""

import numpy as np

IMPLEMENTATION = {"dtypes": ["float16"]}


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    if x.dtype == np.float16 and axis == -1:
        y[..., 1 << 22 :] = 0
    return y
