"""Sums one by one, the largest terms first."""

import numpy as np


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    ordered = -np.sort(-e, axis=-1)
    s = np.cumsum(ordered, axis=-1)[..., -1:]
    return np.moveaxis(e / s, -1, axis)
