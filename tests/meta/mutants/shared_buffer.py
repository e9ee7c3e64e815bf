"""Returns one buffer per shape, which the next call overwrites."""

import numpy as np

_buffers = {}


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    key = (x.shape, x.dtype)
    buffer = _buffers.setdefault(key, np.empty(x.shape, x.dtype))
    np.copyto(buffer, _softmax(x, axis))
    return buffer
