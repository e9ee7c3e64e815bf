"""Our own compiled softmax for CPUs: vectorised, many threads, no rounding before the exponential.

Not x - max is reduced to (-ln 2 / 2, ln 2 / 2) but x itself, and the maximum's power of two is
subtracted from the exponent, which is exact: the error does not grow with the distance from the
maximum. Exponentials are kept times 2**64, so that a result in the subnormal range is rounded
once, at the end. Sums are in blocks, compensated. No fast-math. 16-bit formats are computed in
float32. Rows are divided over the threads, or the columns where there are few rows; small inputs
stay on one. Two passes over memory where a row fits in a core's cache.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from implementations import _numba_kernels as kernels
from implementations._rows import Array, as_rows, buffer_for, check, check_targets, deliver

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("numba",),
    "source": "M. Dukhan, A. Ablavatski, Two-pass softmax algorithm, IPDPS workshops 2020, "
    "https://arxiv.org/abs/2001.04438, with the maximum known beforehand",
    "formula": "exp(xᵢ) = pᵢ·2^kᵢ;  K = k of maxᵢ xᵢ;  yⱼ = pⱼ·2^(kⱼ−K) / Σᵢ pᵢ·2^(kᵢ−K)",
    "bound": "two_pass",
    "passes": 2,
    "threads": "many",
    "accumulator": "float32",
    "deviations": (),
}

_PARALLEL = 1 << 15  # elements from which starting the threads (microseconds) pays
_SPLIT = 1 << 17  # classes from which three starts per row do


def _rows(x: Array, axis: int) -> tuple[Array, int]:
    """`x` as two-dimensional contiguous rows, and how many they are."""
    rows = as_rows(x, axis)
    return rows, (rows.size // rows.shape[-1] if rows.size else 0)


def _threaded(rows: int, size: int) -> bool:
    return rows > 1 and size >= _PARALLEL and numba.get_num_threads() > 1


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    x = check(x, out)
    rows, count = _rows(x, axis)
    result = buffer_for(rows, x, axis, out)
    if count:
        shape = (count, rows.shape[-1])
        a, b = rows.reshape(shape), result.reshape(shape)
        if numba.get_num_threads() > max(count, 1) and shape[1] >= _SPLIT:
            kernels.softmax_split(a, b)
        elif _threaded(count, rows.size):
            kernels.softmax_parallel(a, b)
        else:
            kernels.softmax_serial(a, b)
    return deliver(result, x, axis, out)


def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """(x - max) - log1p(sum of all but the maximum), in float64 for float32."""
    x = check(x, out)
    rows, count = _rows(x, axis)
    result = buffer_for(rows, x, axis, out)
    if count:
        shape = (count, rows.shape[-1])
        run = kernels.log_softmax_serial
        if _threaded(count, rows.size):
            run = kernels.log_softmax_parallel
        run(rows.reshape(shape), result.reshape(shape))
    return deliver(result, x, axis, out)


def logsumexp(x: Array, axis: int = -1) -> Array:
    """max + log1p(sum of all but the maximum), in float64 for float32."""
    x = check(x)
    rows, count = _rows(x, axis)
    result = np.full(rows.shape[:-1], -np.inf, rows.dtype)
    if count:
        run = kernels.logsumexp_serial
        if _threaded(count, rows.size):
            run = kernels.logsumexp_parallel
        run(rows.reshape(count, -1), result.reshape(count))
    with np.errstate(over="ignore"):  # beyond the range of float16 it is infinite
        return result.astype(x.dtype, copy=False)


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y)), in float64 for float32."""
    y, grad = check(y), check(grad)
    if grad.shape != y.shape or grad.dtype != y.dtype:
        raise ValueError(
            f"grad: expected shape {y.shape} and dtype {y.dtype} of y; "
            f"got {grad.shape} and {grad.dtype}"
        )
    rows, count = _rows(y, axis)
    grad_rows = as_rows(grad, axis)
    result = np.empty_like(rows)
    if count:
        shape = (count, rows.shape[-1])
        run = kernels.backward_serial
        if _threaded(count, rows.size):
            run = kernels.backward_parallel
        run(grad_rows.reshape(shape), rows.reshape(shape), result.reshape(shape))
    return deliver(result, y, axis, None)


def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss of each row, and its gradient p - y, accurate at saturation."""
    x = check(logits)
    target = check_targets(x, targets)
    rows, count = _rows(x, -1)
    gradient = np.empty_like(rows)
    loss = np.full(rows.shape[:-1], np.nan, rows.dtype)
    if count:
        shape = (count, rows.shape[-1])
        run = kernels.cross_entropy_serial
        if _threaded(count, rows.size):
            run = kernels.cross_entropy_parallel
        run(
            rows.reshape(shape),
            np.ascontiguousarray(target).reshape(count),
            loss.reshape(count),
            gradient.reshape(shape),
        )
    with np.errstate(over="ignore"):
        return loss.astype(x.dtype, copy=False), deliver(gradient, x, -1, None)


def exp(x: Array) -> Array:
    """The exponential of the kernels, elementwise, so that its error can be measured."""
    x = check(x)
    flat = np.ascontiguousarray(as_rows(x.reshape(-1), -1))
    result = np.empty_like(flat)
    if flat.size:
        kernels.exp_rows(flat, result)
    with np.errstate(over="ignore"):
        return result.reshape(x.shape).astype(x.dtype, copy=False)
