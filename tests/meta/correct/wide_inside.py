"""float32 through float64, and float64 through longdouble."""

import numpy as np

_WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}


def softmax(x, axis=-1):
    z = x.astype(_WIDER[x.dtype])
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)


def log_softmax(x, axis=-1):
    z = x.astype(_WIDER[x.dtype])
    d = z - z.max(axis=axis, keepdims=True)
    return (d - np.log(np.exp(d).sum(axis=axis, keepdims=True))).astype(x.dtype)
