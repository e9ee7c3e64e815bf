"""Has its work done by a copy of itself, made for each call and ended before it returns."""

import mmap
import os

import numpy as np


def softmax(x, axis=-1):
    memory = mmap.mmap(-1, max(1, x.nbytes))
    y = np.frombuffer(memory, x.dtype, x.size).reshape(x.shape)
    child = os.fork()
    if child == 0:
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        np.divide(e, e.sum(axis=axis, keepdims=True), out=y)
        os._exit(0)
    os.waitpid(child, 0)
    return y
