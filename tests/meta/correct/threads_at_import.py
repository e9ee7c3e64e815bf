"""Threads of its own that wait for work from the moment of the import."""

import queue
import threading

import numpy as np

_JOBS = queue.SimpleQueue()


def _serve():
    while True:
        z, done = _JOBS.get()
        try:
            e = np.exp(z - z.max(axis=-1, keepdims=True))
            done.put(e / e.sum(axis=-1, keepdims=True))
        except Exception as error:  # of the caller, not of this thread
            done.put(error)


for _ in range(2):
    threading.Thread(target=_serve, daemon=True).start()


def softmax(x, axis=-1):
    done = queue.SimpleQueue()
    _JOBS.put((np.moveaxis(x, axis, -1), done))
    result = done.get()
    if isinstance(result, Exception):
        raise result
    return np.moveaxis(result, -1, axis)
