"""Wrong for odd n in (512, 1024): the last entry is not summed."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    n = x.shape[axis]
    m = n - 1 if n % 2 and 512 < n < 1024 else n
    return e / np.take(e, range(m), axis=axis).sum(axis=axis, keepdims=True)
