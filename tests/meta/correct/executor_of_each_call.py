"""A pool of threads for every call, closed before it returns."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np


def softmax(x, axis=-1):
    with ThreadPoolExecutor(2) as pool:
        e = pool.submit(lambda: np.exp(x - x.max(axis=axis, keepdims=True))).result()
        return pool.submit(lambda: e / e.sum(axis=axis, keepdims=True)).result()
