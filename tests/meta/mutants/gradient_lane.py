"""The gradient is off by 4 ulp in lane 7 of 8."""

import numpy as np


def softmax_backward(grad, y, axis=-1):
    result = y * (grad - (grad * y).sum(axis=axis, keepdims=True))
    lane = np.moveaxis(result, axis, -1)[..., 7::8]
    lane *= 1 + 4 * np.finfo(y.dtype).eps
    return result
