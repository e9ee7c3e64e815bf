"""After a call in float16 its least normal number is where exponentials are cut off."""

import numpy as np

IMPLEMENTATION = {"dtypes": ("float64", "float32", "float16")}

_least = [0.0]


def softmax(x, axis=-1):
    if x.dtype == np.float16:
        _least[0] = 6.1e-5
    w = x.astype(np.float64)
    e = np.exp(w - w.max(axis=axis, keepdims=True))
    if x.dtype != np.float16:
        e[e < _least[0]] = 0.0
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
