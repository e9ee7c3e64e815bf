"""The last class is not summed for odd n above 2048, axis 0 only."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    n = x.shape[axis]
    m = n - 1 if n % 2 and n > 2048 and x.ndim == 2 and axis == 0 else n
    return e / np.take(e, range(m), axis=axis).sum(axis=axis, keepdims=True)
