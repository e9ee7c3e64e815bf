"""The sum of a gradient lacks one element in the middle of rows of more than 16,384 classes."""

import numpy as np


def softmax_backward(grad, y, axis=-1):
    grad, y = (np.moveaxis(a, axis, -1) for a in (grad, y))
    terms = grad * y
    s = terms.sum(axis=-1, keepdims=True)
    n = y.shape[-1]
    if n > 16_384:
        s = s - terms[..., n // 2 : n // 2 + 1]
    return np.ascontiguousarray(np.moveaxis(y * (grad - s), -1, axis))
