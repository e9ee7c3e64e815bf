"""Leaves the interpreter where there is a NaN."""

import sys

import numpy as np


def softmax(x, axis=-1):
    if np.isnan(x).any():
        sys.exit("NaN")
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
