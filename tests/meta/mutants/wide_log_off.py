"""log_softmax whose logarithm of the sum is off by 2e-4 in rows of more than 8,192 classes."""

import numpy as np


def log_softmax(x, axis=-1):
    d = x - x.max(axis=axis, keepdims=True)
    s = np.log(np.exp(d).sum(axis=axis, keepdims=True))
    if x.shape[axis] > 8192:
        s = s + x.dtype.type(2e-4)
    return d - s
