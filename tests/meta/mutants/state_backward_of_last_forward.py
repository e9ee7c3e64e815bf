"""The backward pass takes the result of the last softmax where the shape fits, not its y."""

import numpy as np

_last = {}


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    _last["y"] = y.copy()
    return y


def softmax_backward(grad, y, axis=-1):
    last = _last.get("y")
    if last is not None and last.shape == y.shape and last.dtype == y.dtype:
        y = last
    return y * (grad - (grad * y).sum(axis=axis, keepdims=True))
