"""Slices that NumPy cuts out, one after the other."""

import numpy as np


def _slice(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def softmax(x, axis=-1):
    return np.apply_along_axis(_slice, axis, x) if x.size else x.copy()
