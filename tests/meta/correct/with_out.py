"""out=, written to step by step; the input may be the output."""

import numpy as np


def softmax(x, axis=-1, out=None):
    if out is None:
        out = np.empty_like(x)
    np.subtract(x, x.max(axis=axis, keepdims=True), out=out)
    np.exp(out, out=out)
    np.divide(out, out.sum(axis=axis, keepdims=True), out=out)
    return out
