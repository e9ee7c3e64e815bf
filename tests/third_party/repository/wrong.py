"""The same, with a scale that is off by a ten-thousandth."""

import numpy as np


def softmax(x, axis=-1):
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True) * x.dtype.type(1 + 1e-4)
