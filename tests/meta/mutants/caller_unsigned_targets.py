"""Unsigned targets are read as signed ones of the same width."""

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
    n = logits.shape[-1]
    t = np.asarray(targets)
    if not -n <= int(t.min(initial=0)) <= int(t.max(initial=0)) < n:
        raise ValueError("no such class")
    t = t.astype(f"i{t.dtype.itemsize}").reshape(-1).astype(np.int64) % n
    return _parts(logits, np.arange(len(t)) * n + t)
