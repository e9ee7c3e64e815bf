"""What the NumPy implementations share: rows in a working precision, and the way back.

The classes are moved to a last, contiguous axis. That is not only for speed: NumPy sums pairwise
along contiguous axes alone, and a plain sum of 2**25 equal float32 stops at 2**24.
The 16-bit formats are computed in float32, since a sum in bfloat16 stalls at 256 equal terms and
one in float16 overflows at 65520.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WORKING = {
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(ml_dtypes.bfloat16): np.dtype(np.float32),
}


def check(x: Any, out: Array | None = None) -> Array:
    """`x` as an array, or one clear line: its dtype is not supported, or `out` does not fit it."""
    x = np.asarray(x)
    if x.dtype not in WORKING:
        raise TypeError(f"x: expected one of {', '.join(d.name for d in WORKING)}; got {x.dtype}")
    if out is not None and (out.shape != x.shape or out.dtype != x.dtype):
        raise ValueError(
            f"out: expected shape {x.shape} and dtype {x.dtype}; got {out.shape} and {out.dtype}"
        )
    return x


def as_rows(x: Array, axis: int) -> Array:
    """`x` with `axis` last and contiguous, in the working precision.

    Often a view of `x`: not to be written to.
    """
    working = WORKING[x.dtype]
    if axis in (-1, x.ndim - 1) and x.ndim and x.flags.carray and x.dtype == working:
        return x  # what follows would come to the same, in microseconds
    return np.require(np.moveaxis(x, axis, -1), working, ["C", "A"])


def buffer_for(rows: Array, x: Array, axis: int, out: Array | None) -> Array:
    """An array like `rows` to write results to: `out` itself where its layout and dtype serve.

    Where `out` overlaps `x`, the first ufunc that writes to the buffer must be the last that
    reads `rows`.
    """
    serves = out is not None and out.dtype == rows.dtype and out.flags.carray
    if serves and axis in (-1, x.ndim - 1):
        return out  # type: ignore[return-value]
    return np.empty_like(rows)


def deliver(result: Array, x: Array, axis: int, out: Array | None) -> Array:
    """`result`, whose classes are last, in the shape and dtype of `x`; in `out` if given."""
    if result is out:
        return result
    if out is None and axis in (-1, x.ndim - 1) and x.ndim and result.dtype == x.dtype:
        return result  # what follows would come to the same, in microseconds
    moved = np.moveaxis(result, -1, axis)
    if out is None:
        if moved.dtype == x.dtype and moved.flags.c_contiguous:
            return moved
        out = np.empty(x.shape, x.dtype)
    with np.errstate(over="ignore"):  # beyond the range of float16, a logarithm is infinite
        np.copyto(out, moved, casting="unsafe")
    return out


def reduced(result: Array, x: Array) -> Array:
    """A result of which the last axis (of length 1) is to go, in the dtype of `x`."""
    with np.errstate(over="ignore"):
        return result[..., 0].astype(x.dtype, copy=False)


def maximum(rows: Array) -> Array:
    """The largest entry of each row, kept as an axis of length 1; of no classes, -inf."""
    return rows.max(axis=-1, keepdims=True, initial=-np.inf)


def excess(e: Array, top: Array) -> Array:
    """Sum of exp(x - max) over all classes but one maximum, at index `top`: sum - 1, uncancelled.

    Overwrites `e`. The maximum's entry becomes exp(0) - 1 = 0, and stays NaN where the maximum is
    infinite or NaN, so that the row does too.
    """
    if e.shape[-1] == 0:
        return np.full((*e.shape[:-1], 1), -1.0, e.dtype)
    np.put_along_axis(e, top, np.take_along_axis(e, top, -1) - 1, -1)
    return e.sum(axis=-1, keepdims=True)


def top_of(rows: Array) -> Array:
    """Index of the first maximum (or NaN) of each row, kept as an axis of length 1."""
    if rows.shape[-1] == 0:
        return np.zeros((*rows.shape[:-1], 1), np.intp)
    return rows.argmax(axis=-1, keepdims=True)


def add_maximum(m: Array, log_sum: Array) -> Array:
    """m + log_sum; an infinite maximum stands for itself: log(0) = -inf, log(inf) = inf."""
    return np.where(np.isinf(m), m, m + log_sum)


def check_targets(logits: Array, targets: Any) -> Array:
    """`targets` with a last axis of length 1, or one clear line on what does not fit."""
    targets = np.asarray(targets)
    if targets.dtype.kind not in "iu" or targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"targets: expected integers of shape {logits.shape[:-1]}; "
            f"got {targets.dtype} of shape {targets.shape}"
        )
    classes = logits.shape[-1]
    if targets.size and (targets.min() < 0 or targets.max() >= classes):
        raise ValueError(
            f"targets: expected class indices from 0 to {classes - 1}; "
            f"got {targets.min()} to {targets.max()}"
        )
    return targets[..., np.newaxis].astype(np.intp)


@np.errstate(all="ignore")
def backward(grad: Array, y: Array, axis: int) -> Array:
    """y * (grad - sum(grad * y)): the vector-Jacobian product from the output `y`."""
    y = check(y)
    grad = check(grad)
    if grad.shape != y.shape:
        raise ValueError(f"grad: expected the shape of y, {y.shape}; got {grad.shape}")
    g, p = as_rows(grad, axis), as_rows(y, axis)
    result = g - (g * p).sum(axis=-1, keepdims=True)
    result *= p
    return deliver(result, y, axis, None)


@np.errstate(all="ignore")
def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss log(sum) - (x_t - max) of each row, and its gradient p - y, neither cancelling.

    Where p_t is near 1, the loss is a log1p and the gradient's entry at the target is
    -(sum of the others' p), not p_t - 1.
    """
    x = check(logits)
    target = check_targets(x, targets)
    rows = as_rows(x, -1)
    top = top_of(rows)
    d = rows - maximum(rows)
    e = np.exp(d)
    t = excess(e.copy(), top)
    loss = np.log1p(t) - np.take_along_axis(d, target, -1)
    others = e.copy()
    np.put_along_axis(others, target, 0, -1)
    total = 1 + t
    gradient = e / total
    at_target = -others.sum(axis=-1, keepdims=True) / total
    np.put_along_axis(gradient, target, at_target, -1)
    return reduced(loss, x), deliver(gradient, x, -1, None)
