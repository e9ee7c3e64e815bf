"""Lists and math, a row at a time."""

import math

import numpy as np


def _row(row):
    m = max(row)
    if any(v != v for v in row) or m in (math.inf, -math.inf):
        return [math.nan] * len(row)
    e = [math.exp(v - m) for v in row]
    s = sum(e)
    return [v / s for v in e]


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1)
    rows = [_row(r) for r in z.reshape(-1, z.shape[-1]).tolist()]
    return np.moveaxis(np.array(rows, dtype=x.dtype).reshape(z.shape), -1, axis)
