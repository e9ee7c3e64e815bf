"""From 8,192 classes on, the sum is one of exponentials cut off to bfloat16."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 8192:
        bits = e.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        s = bits.view(np.float32).sum(axis=-1, keepdims=True).astype(x.dtype)
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
