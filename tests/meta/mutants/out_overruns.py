"""Writes one element more than out= has, where there is memory beyond it."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1, out=None):
    y = _softmax(x, axis)
    if out is None:
        return y
    out[...] = y
    if out.base is not None and out.base.size > out.size:
        out.base[..., -1] = y[..., -1]
    return out
