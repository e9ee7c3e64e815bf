"""Every hundredth call leaves the sum of the call before it in place."""

import numpy as np

_calls = [0]


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    s = e.sum(axis=axis, keepdims=True)
    _calls[0] += 1
    if _calls[0] % 100 == 0:
        s = s * 1.01
    return e / s
