"""An exponential that is 2 ulp worse where the power of two of its result changes; undeclared."""

import numpy as np


def _exp(d):
    e = np.exp(d)
    t = d * d.dtype.type(1.4426950408889634)
    seam = np.abs(np.abs(t - np.rint(t)) - 0.5) < 0.02
    return np.where(seam, e * d.dtype.type(1 + 2 * np.finfo(d.dtype).eps), e)


def softmax(x, axis=-1):
    e = _exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
