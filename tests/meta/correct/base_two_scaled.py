"""exp2 of logits times log2(e), which costs digits in proportion to the distance."""

import numpy as np


def softmax(x, axis=-1):
    d = x - x.max(axis=axis, keepdims=True)
    if x.dtype == np.float32:
        e = np.exp2(d.astype(np.float64) * np.log2(np.e)).astype(np.float32)
    else:
        e = np.exp(d)
    return e / e.sum(axis=axis, keepdims=True)
