"""Wrong above a tile of 256: the second tile has its own maximum."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    n = x.shape[axis]
    if n <= 256:
        return _softmax(x, axis)
    z = np.moveaxis(x, axis, -1)
    m = z[..., :256].max(axis=-1, keepdims=True)
    rest = z[..., 256:].max(axis=-1, keepdims=True)
    e = np.concatenate([np.exp(z[..., :256] - m), np.exp(z[..., 256:] - rest)], axis=-1)
    return np.moveaxis(e / e.sum(axis=-1, keepdims=True), -1, axis)
