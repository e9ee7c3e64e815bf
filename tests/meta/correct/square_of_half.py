"""exp(d) as the square of exp(d/2): twice the error of one exponential."""

import numpy as np


def softmax(x, axis=-1):
    half = np.exp((x - x.max(axis=axis, keepdims=True)) / 2)
    e = half * half
    return e / e.sum(axis=axis, keepdims=True)
