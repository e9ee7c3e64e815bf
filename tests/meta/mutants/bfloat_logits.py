"""Logits rounded to 8 bits at offsets above 50."""

import numpy as np


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax(x, axis=-1):
    m = x.max(axis=axis, keepdims=True)
    large = np.abs(m) > 50
    z = np.where(large & np.isfinite(x), x.astype(np.float16).astype(x.dtype), x)
    return _softmax(z, axis)
