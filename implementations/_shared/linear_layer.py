"""A linear layer before cross-entropy, in NumPy: what it takes, checked, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._shared.numpy_rows import Array, as_rows, check, check_targets


def rows_of(hidden: Any, weight: Any, targets: Any) -> tuple[Array, Array, Array]:
    """Rows (n, features), weights (classes, features) and targets (n, 1), in working precision.

    Raises:
        TypeError, ValueError: for what does not fit, in one line.
    """
    h, w = check(hidden), check(weight)
    if w.ndim != 2 or h.ndim < 1 or h.shape[-1] != w.shape[1] or h.dtype != w.dtype:
        raise ValueError(
            f"hidden, weight: expected shapes (..., features) and (classes, features) of one "
            f"dtype; got {h.shape} {h.dtype} and {w.shape} {w.dtype}"
        )
    logits = np.broadcast_to(np.zeros((), h.dtype), (*h.shape[:-1], len(w)))
    target = check_targets(logits, targets)
    return as_rows(h, -1).reshape(-1, h.shape[-1]), as_rows(w, -1), target.reshape(-1, 1)


def delivered(
    loss: Array, in_hidden: Array, in_weight: Array, hidden: Any
) -> tuple[Array, Array, Array]:
    """Losses and gradients in the dtype and the shapes that the caller's have."""
    h = np.asarray(hidden)
    with np.errstate(over="ignore"):
        return (
            loss.reshape(h.shape[:-1]).astype(h.dtype, copy=False),
            in_hidden.reshape(h.shape).astype(h.dtype, copy=False),
            in_weight.astype(h.dtype, copy=False),
        )
