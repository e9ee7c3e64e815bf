"""The gradient subtracts the mean of grad."""

import numpy as np


def softmax_backward(grad, y, axis=-1):
    return y * (grad - grad.mean(axis=axis, keepdims=True))
