"""Wrong in three dimensions where the last is 5."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    return y[..., ::-1].copy() if x.ndim == 3 and x.shape[-1] == 5 else y
