"""Online over single columns, with a guard for leading masks."""

import numpy as np


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, 0)
    m = np.full(z.shape[1:], -np.inf, x.dtype)
    s = np.zeros(z.shape[1:], x.dtype)
    if len(z) > 600:  # blocks, or the interpreter takes minutes
        for start in range(0, len(z), 512):
            m, s = _merge(m, s, z[start : start + 512])
    else:
        for row in z:
            m, s = _merge(m, s, row[None])
    return np.moveaxis(np.exp(z - m) / s, 0, axis)


def _merge(m, s, block):
    new = np.maximum(m, block.max(axis=0))
    safe = np.where(new == -np.inf, x_zero(new), new)
    return new, s * np.exp(m - safe) + np.exp(block - safe).sum(axis=0)


def x_zero(a):
    return np.zeros_like(a)
