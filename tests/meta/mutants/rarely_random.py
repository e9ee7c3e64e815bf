"""Wrong in the last bit in one call of three."""

import numpy as np

_calls = []


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    y = _softmax(x, axis)
    _calls.append(0)
    return y * (1 - np.finfo(x.dtype).eps) if len(_calls) % 3 == 0 else y
