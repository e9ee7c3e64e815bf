"""NaN is replaced by 0."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    return _softmax(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf), axis)
