"""Remembers results by the content and axis of the input, but not by operation."""

import numpy as np

_memo = {}


def _remembered(x, axis, compute):
    key = (x.tobytes(), x.shape, x.dtype.str, axis)
    if key not in _memo:
        _memo[key] = compute(x, axis)
    return _memo[key].copy()


def _softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _log_softmax(x, axis):
    d = x - x.max(axis=axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def softmax(x, axis=-1):
    return _remembered(x, axis, _softmax)


def log_softmax(x, axis=-1):
    return _remembered(x, axis, _log_softmax)
