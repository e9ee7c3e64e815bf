"""A pool of threads as old as the module, started when it is first used; parts of the rows each."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

_POOL = ThreadPoolExecutor(3)


def _part(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax(x, axis=-1):
    z = np.moveaxis(x, axis, -1)
    rows = z.reshape(-1, z.shape[-1])
    parts = list(_POOL.map(_part, np.array_split(rows, 3)))
    return np.moveaxis(np.concatenate(parts).reshape(z.shape), -1, axis)
