"""Our own compiled softmax for CPUs, rounded once: within 0.5001 ulp in float32, 0.51 in float64.

float32 and the 16-bit formats are computed in float64 by a table of sixteen and a polynomial, with
a relative error below 2**-44, and rounded once to the result's format, subnormals included:
correctly for all pairs of logits of both 16-bit formats (tried exhaustively), nearly always else.
float64 is computed in unevaluated sums of two float64 (double-double), with a relative error below
2**-62.2. Sums are compensated, logarithms are of 1 + (the others), and the dot product of the
backward pass has twice the precision: the same holds for all operations, but for float64 where
logsumexp or that dot product cancels, or a result of theirs is subnormal (docs/bounds.md). No
fast-math. Rows are divided over the threads, or the columns where there are few rows; results do
not depend on either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._exact.kernels import RESULTS, SUMS, TOPS, WHOLE, kernel
from implementations._exact.rows import BLOCK
from implementations._shared.numpy_rows import Array, check, check_targets
from implementations._simd.launch import launch, launch_large, launch_small, thread_count

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("numba",),
    "source": "P.-T. P. Tang, Table-driven implementation of the exponential function in IEEE "
    "floating-point arithmetic, ACM TOMS 15 (1989), https://doi.org/10.1145/63522.214389; "
    "T. Ogita, S. M. Rump, S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26 "
    "(2005), https://doi.org/10.1137/030601818",
    "formula": "yⱼ = fl(exp(xⱼ − m) / Σᵢ exp(xᵢ − m)),  m = maxᵢ xᵢ,  exp(d) = 2ⁿ·2^(j/16)·eʳ",
    "bound": "rounded_once",
    "passes": 2,
    "threads": "many",
    "accumulator": "float64",
    "deviations": (),
}

_PARALLEL = 1 << 14  # elements from which starting the threads (microseconds) pays
_SPLIT = 1 << 16  # classes from which three starts per row do
_NATIVE = (np.dtype(np.float32), np.dtype(np.float64))  # formats that Numba knows as arrays
_STREAM = 1 << 24  # bytes of the result from which stores past the caches pay


def _at(a: Array) -> int:
    address: int = a.__array_interface__["data"][0]
    return address


def _rows(x: Array, axis: int) -> Array:
    """`x` with `axis` last and contiguous, as the kernels take it; often a view."""
    if axis not in (-1, x.ndim - 1) or not x.ndim:
        x = np.moveaxis(x, axis, -1)
    return np.require(x, requirements="CA")


def _result(rows: Array, x: Array, axis: int, out: Array | None) -> Array:
    """Where the kernels write: `out` itself where its layout serves, even if it is the input."""
    if out is None or not (out.flags.carray and axis in (-1, x.ndim - 1)):
        return np.empty_like(rows)
    if _at(out) == _at(rows) or not np.may_share_memory(out, rows):
        return out
    return np.empty_like(rows)


def _deliver(result: Array, x: Array, axis: int, out: Array | None) -> Array:
    if out is None:
        if axis in (-1, x.ndim - 1):
            return result
        return np.ascontiguousarray(np.moveaxis(result, -1, axis))
    if out is not result:
        np.copyto(out, np.moveaxis(result, -1, axis))
    return out


def _run(
    operation: str, x: Array, out: Array, count: int, more: int = 0, result: Array | None = None
) -> None:
    """An operation's kernel over `count` rows at `x` and `out`; the larger inputs on all threads.

    `result` decides whether it is written past the caches; `more` is what the kernel says.
    """
    threads = min(count, thread_count()) if x.size >= _PARALLEL else 1
    past = int(result is not None and result.nbytes >= _STREAM)
    at = kernel(operation, x.dtype)
    launch(at, WHOLE, _at(x), _at(out), count, x.size // count, past, more, threads)


def _softmax_of_long_rows(x: Array, out: Array, count: int, parts: int) -> None:
    """Few long rows: the columns of each divided over the threads."""
    classes, past = x.size // count, int(x.nbytes >= _STREAM)
    state = np.empty(parts + 2 * (classes // BLOCK + 1))
    at = kernel("softmax", x.dtype)
    for r in range(count):
        offset = r * classes * x.itemsize
        for stage in (TOPS, SUMS, RESULTS):
            row = (_at(x) + offset, _at(out) + offset, 1, classes, past, _at(state))
            launch(at, stage, *row, parts)


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    plain = type(x) is np.ndarray and axis == -1 and 0 < x.ndim < 3 and x.flags.carray
    if plain and x.dtype in _NATIVE:
        y = np.empty(x.shape, x.dtype) if out is None else out
        if y.dtype is x.dtype and y.flags.carray:
            at = kernel("softmax", x.dtype)
            if x.size < _PARALLEL:
                if launch_small(at, x, y, 0):
                    return y
            elif x.shape[-1] < _SPLIT and launch_large(at, x, y, _STREAM, 0):
                return y
    x = check(x, out)
    rows = _rows(x, axis)
    result = _result(rows, x, axis, out)
    if rows.size:
        count = rows.size // rows.shape[-1]
        threads = thread_count()
        if count < threads and rows.shape[-1] >= _SPLIT:
            _softmax_of_long_rows(rows, result, count, threads)
        else:
            _run("softmax", rows, result, count, result=result)
    return _deliver(result, x, axis, out)


def log_softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """(x - max) - log1p(sum of all but one maximum)."""
    x = check(x, out)
    rows = _rows(x, axis)
    result = _result(rows, x, axis, out)
    if rows.size:
        _run("log_softmax", rows, result, rows.size // rows.shape[-1], result=result)
    return _deliver(result, x, axis, out)


def logsumexp(x: Array, axis: int = -1) -> Array:
    """max + log1p(sum of all but one maximum)."""
    x = check(x)
    rows = _rows(x, axis)
    result = np.full(rows.shape[:-1], -np.inf, x.dtype)
    if rows.size:
        _run("logsumexp", rows, result, rows.size // rows.shape[-1])
    return result


def softmax_backward(grad: Array, y: Array, axis: int = -1) -> Array:
    """y * (grad - sum(grad * y))."""
    y, grad = check(y), check(grad)
    if grad.shape != y.shape or grad.dtype != y.dtype:
        raise ValueError(
            f"grad: expected shape {y.shape} and dtype {y.dtype} of y; "
            f"got {grad.shape} and {grad.dtype}"
        )
    rows, grads = _rows(y, axis), _rows(grad, axis)
    result = np.empty_like(rows)
    if rows.size:
        count = rows.size // rows.shape[-1]
        _run("softmax_backward", rows, result, count, _at(grads), result)
    return _deliver(result, y, axis, None)


def cross_entropy(logits: Array, targets: Any) -> tuple[Array, Array]:
    """Loss of each row, and its gradient p - y; at the target -(sum of the others' p)."""
    x = check(logits)
    target = np.ascontiguousarray(check_targets(x, targets), np.int64)
    rows = _rows(x, -1)
    gradient = np.empty_like(rows)
    loss = np.full(rows.shape[:-1], np.nan, x.dtype)
    if rows.size:
        places = np.array([_at(target), _at(loss)], np.int64)
        count = rows.size // rows.shape[-1]
        _run("cross_entropy", rows, gradient, count, _at(places), gradient)
    return loss, gradient
