"""From 16,384 classes on, a first chunk of 4096 that is masked whole counts as 4096 ones."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 16_384:
        masked = np.isneginf(x[..., :4096]).all(axis=-1, keepdims=True)
        s = s + np.where(masked, 4096, 0).astype(x.dtype)
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
