"""Compensated summation, term by term, of the exponentials."""

import numpy as np


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, 0)
    e = np.exp(z - z.max(axis=0))
    s = np.zeros(z.shape[1:], x.dtype)
    c = np.zeros_like(s)
    for row in e:
        t = row - c
        total = s + t
        c = (total - s) - t
        s = total
    return np.moveaxis(e / s, 0, axis)
