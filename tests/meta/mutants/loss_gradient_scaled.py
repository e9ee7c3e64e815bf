"""cross_entropy whose gradient is divided by the rows."""

import numpy as np


def _parts(logits, targets):
    d = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(d)
    s = e.sum(axis=-1, keepdims=True)
    t = np.asarray(targets)[..., None]
    loss = (np.log(s) - np.take_along_axis(d, t, -1))[..., 0]
    return loss, e / s, t


def cross_entropy(logits, targets):
    loss, p, t = _parts(logits, targets)
    np.put_along_axis(p, t, np.take_along_axis(p, t, -1) - 1, -1)
    return loss, p / max(1, loss.size)
