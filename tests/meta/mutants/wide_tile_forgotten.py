"""In rows of more than 16,384 classes one tile of 128 is missing from the sum."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    s = e.sum(axis=axis, keepdims=True)
    if x.shape[axis] > 16_384:
        s = s - np.take(e, range(5120, 5248), axis=axis).sum(axis=axis, keepdims=True)
    return e / s
