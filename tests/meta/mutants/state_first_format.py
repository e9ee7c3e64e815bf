"""Computes in the format of the first call for ever."""

import numpy as np

_working = []


def softmax(x, axis=-1):
    if not _working:
        _working.append(x.dtype)
    w = x.astype(_working[0])
    e = np.exp(w - w.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
