"""Memory for what lies between, kept for every thread and used again; results are new arrays."""

import threading

import numpy as np

_LOCAL = threading.local()


def _workspace(x):
    kept = getattr(_LOCAL, "kept", None)
    if kept is None or kept.dtype != x.dtype or kept.size < x.size:
        kept = _LOCAL.kept = np.empty(x.size, x.dtype)
    return kept[: x.size].reshape(x.shape)


def softmax(x, axis=-1):
    e = _workspace(x)
    np.subtract(x, x.max(axis=axis, keepdims=True), out=e)
    np.exp(e, out=e)
    return e / e.sum(axis=axis, keepdims=True)
