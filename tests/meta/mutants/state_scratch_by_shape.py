"""Keeps a scratch array for each shape, in the format of the first call of that shape."""

import numpy as np

IMPLEMENTATION = {"dtypes": ("float64", "float32")}

_scratch = {}


def softmax(x, axis=-1):
    e = _scratch.setdefault(x.shape, np.empty(x.shape, x.dtype))
    np.exp(x - x.max(axis=axis, keepdims=True), out=e, casting="same_kind")
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
