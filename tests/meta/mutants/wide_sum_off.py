"""Off by 0.18% in rows of more than 30,000 classes."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    return y * x.dtype.type(1.0018) if x.shape[axis] > 30_000 else y
