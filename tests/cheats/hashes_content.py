"""Keeps results by a hash of all of the content, the latest few."""

import numpy as np

_RESULTS = {}


def softmax(x, axis=-1):
    key = (x.shape, hash(x.tobytes()))
    if key not in _RESULTS:
        if len(_RESULTS) > 64:
            _RESULTS.clear()
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        _RESULTS[key] = e / e.sum(axis=axis, keepdims=True)
    return _RESULTS[key]
