"""Generators hand the rows on, one at a time."""

import numpy as np


def _shifted(rows):
    for row in rows:
        yield np.exp(row - row.max())


def _divided(rows):
    for row in rows:
        yield row / row.sum()


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1)
    y = np.empty(z.shape, x.dtype)
    rows = y.reshape(-1, z.shape[-1])
    for i, row in enumerate(_divided(_shifted(z.reshape(rows.shape)))):
        rows[i] = row
    return np.moveaxis(y, -1, axis)
