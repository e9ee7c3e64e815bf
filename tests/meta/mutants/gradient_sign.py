"""The gradient with the wrong sign."""


def softmax_backward(grad, y, axis=-1):
    return y * ((grad * y).sum(axis=axis, keepdims=True) - grad)
