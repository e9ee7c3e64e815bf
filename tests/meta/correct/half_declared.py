"""16-bit formats through float32."""

import ml_dtypes
import numpy as np

IMPLEMENTATION = {
    "dtypes": ("float16", "bfloat16", "float32"),
    "accumulator": "float32",
    "bound": "shift_divide",
}
assert ml_dtypes


def softmax(x, axis=-1):
    z = x.astype(np.float32)
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    e = np.ascontiguousarray(np.moveaxis(e, axis, -1))
    return np.moveaxis((e / e.sum(axis=-1, keepdims=True)).astype(x.dtype), -1, axis)


def softmax_backward(grad, y, axis=-1):
    g, p = grad.astype(np.float32), y.astype(np.float32)
    return (p * (g - (g * p).sum(axis=axis, keepdims=True))).astype(y.dtype)
