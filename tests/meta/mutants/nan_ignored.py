"""NaN is ignored in maximum and sum."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - np.nanmax(x, axis=axis, keepdims=True))
    return e / np.nansum(e, axis=axis, keepdims=True)
