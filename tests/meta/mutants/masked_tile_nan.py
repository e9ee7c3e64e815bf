"""A masked tile of 8 at the start gives NaN (unguarded online loop)."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    z, w = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
    if z.shape[-1] > 8:
        w[(z[..., :8] == -np.inf).all(axis=-1)] = np.nan
    return y
