"""An exponential by (1 + x/1024)**1024."""

import numpy as np


def softmax(x, axis=-1):
    d = np.maximum(x - x.max(axis=axis, keepdims=True), -1000)
    e = (1 + d / 1024) ** 1024
    return e / e.sum(axis=axis, keepdims=True)
