"""log_softmax in base 2."""

import numpy as np


def log_softmax(x, axis=-1):
    d = x - x.max(axis=axis, keepdims=True)
    return d - np.log2(np.exp(d).sum(axis=axis, keepdims=True))
