"""cross_entropy whose gradient is p."""

import numpy as np


def _parts(logits, targets):
    d = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(d)
    s = e.sum(axis=-1, keepdims=True)
    t = np.asarray(targets)[..., None]
    loss = (np.log(s) - np.take_along_axis(d, t, -1))[..., 0]
    return loss, e / s, t


def cross_entropy(logits, targets):
    loss, p, _t = _parts(logits, targets)
    return loss, p
