"""A compiled loop over rows, no fast-math."""

import math

import numba
import numpy as np


@numba.njit(error_model="numpy")
def _rows(x, y):
    for i in range(x.shape[0]):
        m = x[i, 0]
        for j in range(x.shape[1]):
            if x[i, j] > m or x[i, j] != x[i, j]:
                m = x[i, j]
        s = y[i, 0] * 0
        s = s - s
        for j in range(x.shape[1]):
            y[i, j] = math.exp(x[i, j] - m)
            s += y[i, j]
        for j in range(x.shape[1]):
            y[i, j] /= s


def softmax(x, axis=-1):
    z = np.array(np.moveaxis(x, axis, -1), order="C")
    y = np.zeros_like(z)
    if z.size:
        _rows(z.reshape(-1, z.shape[-1]), y.reshape(-1, z.shape[-1]))
    return np.ascontiguousarray(np.moveaxis(y, -1, axis))
