"""Takes the bytes of the other byte order for native ones."""

import numpy as np


def softmax(x, axis=-1):
    x = np.ascontiguousarray(x)
    x = x.view(x.dtype.newbyteorder("="))
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
