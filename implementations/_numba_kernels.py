"""The rows of `numba_cpu`: one function per operation and row, serial and parallel drivers.

Every sum is taken in blocks of 2048 entries, in vector lanes within a block and compensated over
the blocks, so that its error does not grow with the length of the row. The blocks do not depend
on the number of threads or rows: neither do the results, to the bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from implementations._numba_exp import (
    accumulate,
    add,
    depth,
    from_order_key,
    fused,
    larger,
    order_key,
    power,
    reduce,
    shift_above,
    zero,
)

BLOCK = 2048

_compiled = njit(cache=True, error_model="numpy", nogil=True)
_threaded = njit(cache=True, error_model="numpy", nogil=True, parallel=True)


@_compiled  # type: ignore[misc]
def _maximum(x: Any) -> Any:
    """The largest entry, NaN if there is a positive one; through integers, which vectorise."""
    top = order_key(x[0])
    for i in range(x.size):
        top = larger(order_key(x[i]), top)
    return from_order_key(top)


@_compiled  # type: ignore[misc]
def _frame(m: Any) -> Any:
    """(shift, cutoff, t): what is subtracted, below what exp counts as 0, the top's exponent.

    The shift is 0 but for a maximum beyond the range of the reduction. x - m is exact there
    wherever the result is not 0 (Sterbenz), so that no input is rounded before its exponential.
    """
    shift = m if abs(m) > shift_above(m) else m - m  # NaN for an infinite maximum, by m - m
    top = m - shift
    return shift, top - depth(m), reduce(top)[1]


@_compiled  # type: ignore[misc]
def _exponential(x: Any, shift: Any, cutoff: Any, t_top: Any) -> Any:
    """exp(x - shift) * 2**(64 - k_top), 0 below the cutoff; NaN passes every comparison."""
    v = x - shift
    p, t = reduce(v)
    return zero(v) if v < cutoff else p * power(t, t_top)


@_compiled  # type: ignore[misc]
def _fill_block(x: Any, e: Any, shift: Any, cutoff: Any, t_top: Any) -> tuple[float, float]:
    """Exponentials of a block into `e`; their sum as (high, low).

    Two loops, since one with two widths would be vectorised for the larger.
    """
    for i in range(x.size):
        e[i] = _exponential(x[i], shift, cutoff, t_top)
    return _block_sum(e)


@_compiled  # type: ignore[misc]
def _block_sum(e: Any) -> tuple[float, float]:
    """The sum of a block's entries as (high, low)."""
    high, low = 0.0, 0.0
    for i in range(e.size):
        high, low = accumulate(high, low, e[i])
    return high, low


@_compiled  # type: ignore[misc]
def _two_sum(total: float, rest: float, s: float) -> tuple[float, float]:
    """(total, rest) + s, the rounding error of the sum added to the rest (Knuth)."""
    new = total + s
    back = new - total
    return new, rest + ((total - (new - back)) + (s - back))


@_compiled  # type: ignore[misc]
def _fill(x: Any, e: Any, shift: Any, cutoff: Any, t_top: Any) -> tuple[float, float]:
    """Exponentials of a row into `e`; their sum as (total, rest)."""
    total, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        high, low = _fill_block(x[b : b + BLOCK], e[b : b + BLOCK], shift, cutoff, t_top)
        total, rest = _two_sum(total, rest + low, high)
    return total, rest


@_compiled  # type: ignore[misc]
def _sum(x: Any, shift: Any, cutoff: Any, t_top: Any) -> float:
    """The sum of a row's exponentials, not stored."""
    scratch = np.empty(min(x.size, BLOCK), x.dtype)
    total, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        block = x[b : b + BLOCK]
        high, low = _fill_block(block, scratch[: block.size], shift, cutoff, t_top)
        total, rest = _two_sum(total, rest + low, high)
    return total + rest


@_compiled  # type: ignore[misc]
def _plain_sum(e: Any) -> tuple[float, float]:
    """The sum of stored entries as (total, rest)."""
    total, rest = 0.0, 0.0
    for b in range(0, e.size, BLOCK):
        high, low = _block_sum(e[b : b + BLOCK])
        total, rest = _two_sum(total, rest + low, high)
    return total, rest


def divide(e: Any, total: float, rest: float) -> None:
    """e / (total + rest) in place, rounded (nearly) once, underflow included.

    float32 by a float64 product; float64 by the reciprocal as an unevaluated sum.
    """
    raise NotImplementedError("only within Numba")


@overload(divide)
def _divide(e, total, rest):
    if e.dtype == types.float32:

        def single(e, total, rest):
            factor = 1.0 / (total + rest)
            for i in range(e.size):
                e[i] = np.float32(np.float64(e[i]) * factor)

        return single

    def double(e, total, rest):
        high = 1.0 / total
        low = -high * (fused(total, high, -1.0) + rest * high)
        for i in range(e.size):
            e[i] = fused(e[i], high, e[i] * low)

    return double


@_compiled  # type: ignore[misc]
def _softmax_row(x: Any, out: Any) -> None:
    shift, cutoff, t_top = _frame(_maximum(x))
    total, rest = _fill(x, out, shift, cutoff, t_top)
    divide(out, total, rest)


@_compiled  # type: ignore[misc]
def _log_sum(x: Any, m: Any) -> float:
    """log of the sum of exp(x - m), m the maximum: log1p of all but one maximum's share."""
    shift, cutoff, t_top = _frame(m)
    top = 0
    while top < x.size - 1 and x[top] != m:
        top += 1
    others = _sum(x[:top], shift, cutoff, t_top) + _sum(x[top + 1 :], shift, cutoff, t_top)
    return math.log1p(others / np.float64(_exponential(m, shift, cutoff, t_top)))


@_compiled  # type: ignore[misc]
def _log_softmax_row(x: Any, out: Any) -> None:
    m = _maximum(x)
    log_sum = _log_sum(x, m)
    wide = np.float64(m)
    for i in range(x.size):
        out[i] = (np.float64(x[i]) - wide) - log_sum


@_compiled  # type: ignore[misc]
def _has_nan(x: Any) -> bool:
    """Whether any entry is NaN; the maximum alone misses those with a sign."""
    for v in x:  # noqa: SIM110 (Numba has no any())
        if v != v:
            return True
    return False


@_compiled  # type: ignore[misc]
def _logsumexp_row(x: Any) -> float:
    m = _maximum(x)
    if abs(m) == np.inf:
        return np.nan if _has_nan(x) else np.float64(m)
    return np.float64(m) + _log_sum(x, m)


@_compiled  # type: ignore[misc]
def _backward_row(grad: Any, y: Any, out: Any) -> None:
    dot, rest = 0.0, 0.0
    for b in range(0, y.size, BLOCK):
        g, p = grad[b : b + BLOCK], y[b : b + BLOCK]
        s = 0.0
        for i in range(p.size):
            s = add(s, np.float64(g[i]) * np.float64(p[i]))
        dot, rest = _two_sum(dot, rest, s)
    dot += rest
    for i in range(y.size):
        out[i] = np.float64(y[i]) * (np.float64(grad[i]) - dot)


@_compiled  # type: ignore[misc]
def _cross_entropy_row(x: Any, target: int, gradient: Any) -> float:
    """The loss; the gradient's entry at the target is -(sum of the others), which cancels not."""
    m = _maximum(x)
    log_sum = _log_sum(x, m)
    shift, cutoff, t_top = _frame(m)
    _fill(x, gradient, shift, cutoff, t_top)
    own = np.float64(gradient[target])
    gradient[target] = 0
    others, rest = _plain_sum(gradient)
    total, rest = _two_sum(others, rest, own)
    divide(gradient, total, rest)
    gradient[target] = -(others / total)
    return (np.float64(m) - np.float64(x[target])) + log_sum


@_compiled  # type: ignore[misc]
def softmax_serial(x: Any, out: Any) -> None:
    for r in range(x.shape[0]):
        _softmax_row(x[r], out[r])


@_threaded  # type: ignore[misc]
def softmax_parallel(x: Any, out: Any) -> None:
    for r in prange(x.shape[0]):
        _softmax_row(x[r], out[r])


@_threaded  # type: ignore[misc]
def softmax_split(x: Any, out: Any) -> None:
    """Few long rows: the columns of each are divided over the threads, by the same blocks."""
    classes = x.shape[1]
    blocks = (classes + BLOCK - 1) // BLOCK
    tops = np.empty(blocks, x.dtype)
    highs, lows = np.empty(blocks), np.empty(blocks)
    for r in range(x.shape[0]):
        for b in prange(blocks):
            tops[b] = _maximum(x[r, b * BLOCK : (b + 1) * BLOCK])
        shift, cutoff, t_top = _frame(_maximum(tops))
        for b in prange(blocks):
            start, stop = b * BLOCK, (b + 1) * BLOCK
            highs[b], lows[b] = _fill_block(
                x[r, start:stop], out[r, start:stop], shift, cutoff, t_top
            )
        total, rest = 0.0, 0.0
        for b in range(blocks):
            total, rest = _two_sum(total, rest + lows[b], highs[b])
        for b in prange(blocks):
            divide(out[r, b * BLOCK : (b + 1) * BLOCK], total, rest)


@_compiled  # type: ignore[misc]
def log_softmax_serial(x: Any, out: Any) -> None:
    for r in range(x.shape[0]):
        _log_softmax_row(x[r], out[r])


@_threaded  # type: ignore[misc]
def log_softmax_parallel(x: Any, out: Any) -> None:
    for r in prange(x.shape[0]):
        _log_softmax_row(x[r], out[r])


@_compiled  # type: ignore[misc]
def logsumexp_serial(x: Any, out: Any) -> None:
    for r in range(x.shape[0]):
        out[r] = _logsumexp_row(x[r])


@_threaded  # type: ignore[misc]
def logsumexp_parallel(x: Any, out: Any) -> None:
    for r in prange(x.shape[0]):
        out[r] = _logsumexp_row(x[r])


@_compiled  # type: ignore[misc]
def backward_serial(grad: Any, y: Any, out: Any) -> None:
    for r in range(y.shape[0]):
        _backward_row(grad[r], y[r], out[r])


@_threaded  # type: ignore[misc]
def backward_parallel(grad: Any, y: Any, out: Any) -> None:
    for r in prange(y.shape[0]):
        _backward_row(grad[r], y[r], out[r])


@_compiled  # type: ignore[misc]
def cross_entropy_serial(x: Any, targets: Any, loss: Any, gradient: Any) -> None:
    for r in range(x.shape[0]):
        loss[r] = _cross_entropy_row(x[r], targets[r], gradient[r])


@_threaded  # type: ignore[misc]
def cross_entropy_parallel(x: Any, targets: Any, loss: Any, gradient: Any) -> None:
    for r in prange(x.shape[0]):
        loss[r] = _cross_entropy_row(x[r], targets[r], gradient[r])
