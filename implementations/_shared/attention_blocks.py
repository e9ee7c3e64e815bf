"""Softmax as an attention kernel comes to it: block by block of the classes, rescaled as it goes.

A kernel of attention never has the softmax itself. It has the sum of weights times values, and with
the identity for values that is the softmax: what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from implementations._shared.numpy_rows import Array, as_rows, check, deliver

BLOCK = 128
"""Classes that are taken at a time, as in FlashAttention."""


def same(weights: Array) -> Array:
    """Weights kept as they are."""
    return weights


@np.errstate(all="ignore")
def narrowed(weights: Array, power: int, kind: Any) -> Array:
    """Weights times 2**power in a narrower format, saturated at its largest number, and back."""
    scaled = np.minimum(np.ldexp(weights, power), float(ml_dtypes.finfo(kind).max))
    return np.ldexp(scaled.astype(kind).astype(weights.dtype), -power)


@np.errstate(all="ignore")
def attention_weights(
    x: Any, axis: int, *, tau: float = 0.0, exp: Callable[[Array], Array] = np.exp,
    kept: Callable[[Array], Array] = same,
) -> Array:  # fmt: skip
    """Softmax along `axis`.

    Args:
        tau: by how much, as a power of two, the largest logit has to exceed the reference before
            that is replaced and everything rescaled; weights are up to 2**tau.
        exp: the exponential.
        kept: what becomes of weights that are multiplied with values; the sum is of the others.
    """
    x = check(x)
    rows = as_rows(x, axis)
    y = np.empty_like(rows)
    reference = np.full((*rows.shape[:-1], 1), -np.inf, rows.dtype)
    total = np.zeros_like(reference)
    reach = rows.dtype.type(tau * np.log(2.0))
    for start in range(0, rows.shape[-1], BLOCK):
        block = rows[..., start : start + BLOCK]
        top = np.maximum(reference, block.max(axis=-1, keepdims=True))
        new = np.where((top > reference + reach) | np.isnan(top), top, reference)
        scale = np.where(new == reference, 1, exp(reference - new)).astype(rows.dtype)
        weights = exp(block - np.where(new == -np.inf, 0, new))
        total = total * scale + weights.sum(axis=-1, keepdims=True)
        y[..., :start] *= scale
        y[..., start : start + BLOCK] = kept(weights)
        reference = new
    y /= total
    return deliver(y, x, axis, None)
