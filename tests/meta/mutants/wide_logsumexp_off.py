"""log-sum-exp that is off by 2e-4 in rows of more than 8,192 classes."""

import numpy as np


def logsumexp(x, axis=-1):
    m = x.max(axis=axis, keepdims=True)
    s = np.log(np.exp(x - m).sum(axis=axis, keepdims=True)) + m
    if x.shape[axis] > 8192:
        s = s + x.dtype.type(2e-4)
    return s.squeeze(axis)
