"""The entry at the start of each later tile of 100 is not summed."""

import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    z = np.moveaxis(e, axis, -1)
    s = z.sum(axis=-1, keepdims=True) - z[..., 100::100].sum(axis=-1, keepdims=True)
    return np.moveaxis(z / s, -1, axis)
