"""The place of a target in memory is computed in the integer type of the targets."""

import numpy as np


def _parts(logits, index):
    d = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(d)
    s = e.sum(axis=-1, keepdims=True)
    gradient = e / s
    shape = logits.shape[:-1]
    flat = np.log(s).reshape(-1) - d.reshape(-1)[index]
    gradient.reshape(-1)[index] -= 1
    return flat.reshape(shape), gradient


def cross_entropy(logits, targets):
    t = np.asarray(targets).reshape(-1)
    with np.errstate(all="ignore"):
        begin = np.arange(len(t)).astype(t.dtype) * np.array(logits.shape[-1]).astype(t.dtype)
        return _parts(logits, (begin + t).astype(np.int64) % logits.size)
