"""A function of one row, which NumPy applies to them all."""

import numpy as np


def _row(x):
    e = np.exp(x - x.max())
    return e / e.sum()


_rows = np.vectorize(_row, signature="(n)->(n)")


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1)
    return np.moveaxis(_rows(z) if z.size else z.copy(), -1, axis)
