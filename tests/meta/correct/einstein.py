"""Sums by Einstein's convention."""

import numpy as np

IMPLEMENTATION = {"dtypes": ("float32", "float64")}


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.moveaxis(e / np.einsum("...i->...", e)[..., None], -1, axis)
