"""A generalised universal function, compiled by Numba for two formats before the first call."""

import math

import numba
import numpy as np

IMPLEMENTATION = {"dtypes": ("float32", "float64"), "requires": ("numba",)}


@numba.guvectorize(["(f4[:], f4[:])", "(f8[:], f8[:])"], "(n)->(n)", nopython=True)
def _row(x, y):
    m, total = x[0], 0.0
    for v in x:
        if v > m or v != v:
            m = v
    for i in range(len(x)):
        y[i] = math.exp(x[i] - m)
        total += y[i]
    for i in range(len(x)):
        y[i] /= total


def softmax(x, axis=-1):
    return _row(x, axis=axis) if x.size else np.empty_like(x)
