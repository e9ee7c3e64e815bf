"""Dithered at random."""

import numpy as np

_rng = np.random.default_rng()


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    return y * (1 + np.finfo(x.dtype).eps * _rng.integers(-1, 2, size=x.shape)).astype(x.dtype)
