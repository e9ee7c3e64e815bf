"""The gradient recomputes y from its argument."""

import numpy as np


def softmax_backward(grad, y, axis=-1):
    e = np.exp(y)
    y = e / e.sum(axis=axis, keepdims=True)
    return y * (grad - (grad * y).sum(axis=axis, keepdims=True))
