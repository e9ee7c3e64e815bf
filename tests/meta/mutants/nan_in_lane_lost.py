"""A NaN at a place of 3 modulo 16 is lost."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1).copy()
    lane = z[..., 3::16]
    lane[np.isnan(lane)] = -np.inf
    return np.moveaxis(_softmax(z, -1), -1, axis)
