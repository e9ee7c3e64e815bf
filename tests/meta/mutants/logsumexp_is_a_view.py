"""Of one class it returns a view of the logits, which changes when they do."""

import numpy as np


def logsumexp(x, axis=-1):
    if x.shape[axis] == 1:
        return np.squeeze(x, axis)
    m = x.max(axis=axis, keepdims=True)
    z = np.where(np.isfinite(m), m, x.dtype.type(0))
    return np.squeeze(z + np.log(np.exp(x - z).sum(axis=axis, keepdims=True)), axis)
