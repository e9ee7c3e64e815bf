"""Returns one array of its own, call after call: the next call overwrites what it gave before."""

import numpy as np

_BUFFERS = {}


def softmax(x, axis=-1):
    out = _BUFFERS.setdefault(x.shape, np.empty_like(x))
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.divide(e, e.sum(axis=axis, keepdims=True), out=out)
