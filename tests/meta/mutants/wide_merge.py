"""From 16,384 classes on, halves are merged as if the first had the larger maximum."""

import numpy as np


def softmax(x, axis=-1):
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    s = e.sum(axis=-1, keepdims=True)
    if n > 16_384:
        one, other = x[..., : n // 2], x[..., n // 2 :]
        tops = [h.max(axis=-1, keepdims=True) for h in (one, other)]
        sums = [
            np.exp(h - t).sum(axis=-1, keepdims=True)
            for h, t in zip((one, other), tops, strict=True)
        ]
        gap = np.exp(-np.abs(tops[0] - tops[1]))
        # Right where the first half has the maximum.
        s = sums[0] + sums[1] * gap
    return np.ascontiguousarray(np.moveaxis(e / s, -1, axis))
