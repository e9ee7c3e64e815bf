"""One-hot."""


def softmax(x, axis=-1):
    m = x.max(axis=axis, keepdims=True)
    t = (x == m).astype(x.dtype)
    return t / t.sum(axis=axis, keepdims=True)
