"""The gradient is wrong at n = 37."""


def softmax_backward(grad, y, axis=-1):
    result = y * (grad - (grad * y).sum(axis=axis, keepdims=True))
    return result * y.dtype.type(1.01) if y.shape[axis] == 37 else result
