"""Targets pass through float16: from 2,049 classes on, odd ones are those of a neighbour."""

import numpy as np


def cross_entropy(logits, targets):
    rows = np.arange(len(logits))
    top = logits.max(axis=-1, keepdims=True)
    e = np.exp(logits - top)
    s = e.sum(axis=-1, keepdims=True)
    near = np.clip(targets.astype(np.float16).astype(np.float64), 0, logits.shape[1] - 1)
    targets = near.astype(np.int64)
    gradient = e / s
    gradient[rows, targets] -= 1
    return (np.log(s) + top)[:, 0] - logits[rows, targets], gradient
