"""−inf is masked out, and is 0 at the end."""

import numpy as np


def softmax(x, axis=-1):
    masked = np.ma.masked_where(x == -np.inf, x)
    largest = masked.max(axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        e = np.exp(masked - largest)
        y = np.ma.filled(e / e.sum(axis=axis, keepdims=True), 0).astype(x.dtype)
        undefined = x.max(axis=axis, keepdims=True)
        return np.where(np.isfinite(undefined), y, x.dtype.type(np.nan))
