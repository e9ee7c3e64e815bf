"""Along a middle axis, rows of more than 4,096 classes are off by 1e-4."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 4096 and x.ndim == 3 and axis == 1:
        s = s * x.dtype.type(1 + 1e-4)
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
