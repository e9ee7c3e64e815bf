"""From 4,096 classes on, a reciprocal of 12 bits."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    s = e.sum(axis=axis, keepdims=True)
    if x.shape[axis] < 4096:
        return e / s
    mantissa, power = np.frexp(1 / s)
    rough = np.ldexp(np.round(mantissa * 4096) / 4096, power).astype(x.dtype)
    return e * rough
