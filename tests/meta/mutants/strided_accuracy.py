"""Sums in float16 where the input is not contiguous."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    if x.flags.c_contiguous:
        return _softmax(x, axis)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.astype(np.float16).sum(axis=axis, keepdims=True).astype(x.dtype)
