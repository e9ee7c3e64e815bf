"""A pool of threads that the first call makes."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np


@cache
def _pool():
    return ThreadPoolExecutor(2, thread_name_prefix="softmax")


def softmax(x, axis=-1):
    largest = _pool().submit(np.max, x, axis=axis, keepdims=True)
    e = np.exp(x - largest.result())
    total = _pool().submit(np.sum, e, axis=axis, keepdims=True)
    return e / total.result()
