"""64 ulp off where -17 < x - max < -16, as with one bad entry of a table."""

import numpy as np


def softmax(x, axis=-1):
    d = x - x.max(axis=axis, keepdims=True)
    e = np.exp(d)
    bad = (d > -17) & (d < -16)
    e = np.where(bad, e * x.dtype.type(1 + 64 * np.finfo(x.dtype).eps), e)
    return e / e.sum(axis=axis, keepdims=True)
