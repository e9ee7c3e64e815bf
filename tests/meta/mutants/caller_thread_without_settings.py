"""Its temperature is set for the thread that imports it; others have half of it."""

import threading

import numpy as np

_settings = threading.local()
_settings.temperature = 1


def softmax(x, axis=-1):
    z = x / x.dtype.type(getattr(_settings, "temperature", 0.5))
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
