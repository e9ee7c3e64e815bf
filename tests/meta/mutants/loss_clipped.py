"""cross_entropy that clips p at 1e-7."""

import numpy as np


def _parts(logits, targets):
    d = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(d)
    s = e.sum(axis=-1, keepdims=True)
    t = np.asarray(targets)[..., None]
    loss = (np.log(s) - np.take_along_axis(d, t, -1))[..., 0]
    return loss, e / s, t


def cross_entropy(logits, targets):
    _loss, p, t = _parts(logits, targets)
    at = np.clip(np.take_along_axis(p, t, -1), logits.dtype.type(1e-7), 1)
    np.put_along_axis(p, t, np.take_along_axis(p, t, -1) - 1, -1)
    return -np.log(at)[..., 0], p
