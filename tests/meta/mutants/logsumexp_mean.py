"""log-mean-exp."""

import numpy as np


def logsumexp(x, axis=-1):
    m = x.max(axis=axis, keepdims=True)
    s = np.log(np.exp(x - m).mean(axis=axis, keepdims=True))
    return np.squeeze(m + s, axis)
