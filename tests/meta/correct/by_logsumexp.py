"""exp(x - lse), both brackets."""

import numpy as np


def _lse(x, axis):
    m = x.max(axis=axis, keepdims=True)
    return m, np.log(np.exp(x - m).sum(axis=axis, keepdims=True))


def softmax(x, axis=-1):
    m, log_s = _lse(x, axis)
    return np.exp(x - (m + log_s))


def log_softmax(x, axis=-1):
    m, log_s = _lse(x, axis)
    return x - (m + log_s)


def logsumexp(x, axis=-1):
    m, log_s = _lse(x, axis)
    # log 0, where a maximum of -inf was subtracted from itself
    return np.squeeze(np.where(m == -np.inf, m, m + log_s), axis)
