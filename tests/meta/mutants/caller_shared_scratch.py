"""One scratch array for each shape and format, which two threads write to at the same time."""

import numpy as np

_scratch = {}


def softmax(x, axis=-1):
    e = _scratch.setdefault((x.shape, x.dtype), np.empty(x.shape, x.dtype))
    np.subtract(x, x.max(axis=axis, keepdims=True), out=e)
    np.exp(e, out=e)
    return e / e.sum(axis=axis, keepdims=True)
