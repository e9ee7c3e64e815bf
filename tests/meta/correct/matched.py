"""Another way for each number of axes."""

import numpy as np


def _rows(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax(x, axis=-1):
    match x.shape, axis % max(1, x.ndim):
        case (), _:
            return x * 0 + 1
        case (_,), 0:
            return _rows(x[None])[0]
        case (_, _), 1:
            return _rows(x)
        case (_, _), 0:
            return _rows(x.T).T
        case (*others, _), last if last == len(others):
            return _rows(x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, 1)).reshape(x.shape)
        case _:
            return np.moveaxis(softmax(np.moveaxis(x, axis, -1)), -1, axis)
