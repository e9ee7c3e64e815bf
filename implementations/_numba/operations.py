"""The compiled code of `numba_cpu` but softmax: a row of each operation, and all rows of an array.

Kernels are C functions of addresses, one for an operation and a format, which `launch` calls
on one thread or on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from implementations._numba.exponential import as_like, reduce, two_sum
from implementations._numba.plain_loops import (
    BLOCK,
    add,
    divide,
    exponential,
    fill_row,
    frame,
    largest,
    log_sum,
    plain_sum,
    sum_of_row,
)
from implementations._numba.vector_rows import (
    GROUP,
    NUMBERS,
    backward_way,
    log_softmax_way,
    log_sums_way,
    piece_way,
    pieces_of,
    pieces_way,
)
from implementations._simd.compilation import LINE, compiled, specialised
from implementations._simd.launch import address_of, rows_at
from implementations._simd.memory import fence, itemsize, load_one, stack
from implementations._simd.vectors import zero


@compiled
def exp_rows(x: Any, out: Any) -> None:
    """exp of one-dimensional `x` by the same reduction; overflows, and underflows gradually."""
    t_zero = reduce(zero(x[0]))[1]
    for i in range(x.size):
        v = x[i]
        if abs(v) < 800:  # beyond, the result is 0 or infinite in both formats; NaN passes
            p, t = reduce(v)
            out[i] = math.ldexp(np.float64(p), np.int32(t - t_zero))
        else:
            out[i] = np.inf if v > 0 else v * 0 if v != v else 0.0


@compiled
def _log_softmax_row(x: Any, out: Any) -> None:
    m = largest(x)
    log_of_sum = log_sum(x, m)
    wide = np.float64(m)
    for i in range(x.size):
        out[i] = (np.float64(x[i]) - wide) - log_of_sum


@compiled
def _has_nan(x: Any) -> bool:
    """Whether any entry is NaN; the maximum alone misses those with a sign."""
    for v in x:  # noqa: SIM110 (Numba has no any())
        if v != v:
            return True
    return False


@compiled
def _logsumexp_row(x: Any) -> float:
    m = largest(x)
    if abs(m) == np.inf:
        return np.nan if _has_nan(x) else np.float64(m)
    return np.float64(m) + log_sum(x, m)


@compiled
def _backward_row(grad: Any, y: Any, out: Any) -> None:
    dot, rest = 0.0, 0.0
    for b in range(0, y.size, BLOCK):
        g, p = grad[b : b + BLOCK], y[b : b + BLOCK]
        s = 0.0
        for i in range(p.size):
            s = add(s, np.float64(g[i]) * np.float64(p[i]))
        dot, rest = two_sum(dot, rest, s)
    dot += rest
    for i in range(y.size):
        out[i] = np.float64(y[i]) * (np.float64(grad[i]) - dot)


@compiled
def _cross_entropy_row(x: Any, target: int, gradient: Any) -> float:
    """The loss; the gradient's entry at the target is -(sum of the others), which cancels not."""
    m = largest(x)
    log_of_sum = log_sum(x, m)
    shift, cutoff, t_top = frame(m)
    fill_row(x, gradient, shift, cutoff, t_top)
    own = np.float64(gradient[target])
    gradient[target] = 0
    others, rest = plain_sum(gradient)
    at_target = -(others + rest)
    total, rest = two_sum(others, rest, own)
    total, rest = two_sum(total, 0.0, rest)
    divide(gradient, total, rest)
    gradient[target] = at_target / total
    return (np.float64(m) - np.float64(x[target])) + log_of_sum


_ENOUGH = 2.0**-20  # of a sum: a smaller difference of sums is not accurate to float32


@compiled
def _finish_cross_entropy(row, target, sums, gradient):  # type: ignore[no-untyped-def]
    """The loss, and the gradient at the target, after a softmax to `gradient` that kept `sums`.

    log1p of all but the maximum's share and -(sum of all but the target's): the differences from
    the sum where they leave enough digits, added up again from the row where they do not.
    """
    m = as_like(sums[0], zero(row[0]))
    total, rest = sums[1], sums[2]
    shift, cutoff, t_top = frame(m)
    top = np.float64(exponential(m, shift, cutoff, t_top))
    own = np.float64(exponential(row[target], shift, cutoff, t_top))
    others = (total - top) + rest
    few = others < total * _ENOUGH
    log_of_sum = log_sum(row, m) if few else math.log1p(others / top)
    others = (total - own) + rest
    if others < total * _ENOUGH:
        others = sum_of_row(row[:target], shift, cutoff, t_top)
        others += sum_of_row(row[target + 1 :], shift, cutoff, t_top)
    gradient[target] = -others / (total + rest)
    return (np.float64(m) - np.float64(row[target])) + log_of_sum


@compiled
def _sink_row(x: Any, sink: Any, out: Any) -> None:
    top = largest(x)
    shift, cutoff, t_top = frame(sink if sink > top else top)  # a NaN on top stays
    total, rest = fill_row(x, out, shift, cutoff, t_top)
    total, rest = two_sum(total, rest, np.float64(exponential(sink, shift, cutoff, t_top)))
    divide(out, total, rest)


def _cap(x: Any, cap: float, z: Any) -> None:
    """cap * tanh(x / cap) in float64 to `z`.

    Of float32, of which an error of 1e-15 does not matter, as 1 - 2 / (1 + exp(2 x / cap)): many
    times as fast.
    """
    raise NotImplementedError("only within Numba")


@specialised(_cap)
def _capped(x, cap, z):  # type: ignore[no-untyped-def]
    def single(x, cap, z):  # type: ignore[no-untyped-def]
        t_one = reduce(0.0)[1]
        for i in range(x.size):
            v = 2.0 * (np.float64(x[i]) / cap)
            v = 80.0 if v > 80.0 else -80.0 if v < -80.0 else v  # NaN passes
            e = exponential(v, 0.0, -100.0, t_one) * 2.0**-64
            z[i] = cap - (cap + cap) / (1.0 + e)

    def double(x, cap, z):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            z[i] = cap * math.tanh(x[i] / cap)

    return single if x.dtype == types.float32 else double


@compiled
def _softcap_row(x: Any, cap: float, out: Any) -> None:
    """In float64, rounded to the format at the end."""
    z = np.empty(x.size, np.float64)
    _cap(x, cap, z)
    shift, cutoff, t_top = frame(largest(z))
    total, rest = fill_row(z, z, shift, cutoff, t_top)
    divide(z, total, rest)
    for i in range(x.size):
        out[i] = z[i]


# What is done with row `r` of the arrays at `x` and `out`, and what lies at `more`.


@compiled
def _log_softmax(x, out, rows, classes, r, m, log_of_sum, known, past, like):  # type: ignore[no-untyped-def]
    if known:
        step = r * classes * itemsize(like)
        log_softmax_way(x + step, out + step, classes, past, m, log_of_sum, like)
    else:
        _log_softmax_row(rows_at(x, rows, classes, like)[r], rows_at(out, rows, classes, like)[r])


@compiled
def _logsumexp(x, out, rows, classes, r, m, log_of_sum, known, past, like):  # type: ignore[no-untyped-def]
    found = m + log_of_sum
    if not known:
        found = _logsumexp_row(rows_at(x, rows, classes, like)[r])
    rows_at(out, 1, rows, like)[0, r] = found


@compiled
def _softmax_backward(x, out, more, rows, classes, r, past, like):  # type: ignore[no-untyped-def]
    """`more` is the gradient."""
    step = r * classes * itemsize(like)
    if backward_way(more + step, x + step, out + step, classes, past, like):
        return
    grad, y = rows_at(more, rows, classes, like), rows_at(x, rows, classes, like)
    _backward_row(grad[r], y[r], rows_at(out, rows, classes, like)[r])


@compiled
def _cross_entropy(x, out, more, rows, classes, r, past, like):  # type: ignore[no-untyped-def]
    """`more` is where the addresses of targets (int64), losses and sums are; no sums are 0."""
    row, gradient = rows_at(x, rows, classes, like)[r], rows_at(out, rows, classes, like)[r]
    places = rows_at(more, 1, 3, np.int64(0))[0]
    target = rows_at(places[0], 1, rows, np.int64(0))[0, r]
    loss = rows_at(places[1], 1, rows, like)[0]
    if places[2]:
        sums = rows_at(places[2], rows, 3, np.float64(0))[r]
        loss[r] = _finish_cross_entropy(row, target, sums, gradient)
    else:
        loss[r] = _cross_entropy_row(row, target, gradient)


@compiled
def _softmax_with_sink(x, out, more, rows, classes, r, past, like):  # type: ignore[no-untyped-def]
    """`more` is the sink."""
    sink = rows_at(more, 1, 1, like)[0, 0]
    row, result = rows_at(x, rows, classes, like)[r], rows_at(out, rows, classes, like)[r]
    _sink_row(row, sink, result)


@compiled
def _softcap_softmax(x, out, more, rows, classes, r, past, like):  # type: ignore[no-untyped-def]
    """`more` is the cap."""
    cap = np.float64(rows_at(more, 1, 1, like)[0, 0])
    row, result = rows_at(x, rows, classes, like)[r], rows_at(out, rows, classes, like)[r]
    _softcap_row(row, cap, result)


_LOGARITHMS = {"log_softmax": _log_softmax, "logsumexp": _logsumexp}

_ROWS = {
    "softmax_backward": _softmax_backward,
    "cross_entropy": _cross_entropy,
    "softmax_with_sink": _softmax_with_sink,
    "softcap_softmax": _softcap_softmax,
}


def _kernel(row: Callable[..., None], like: Any) -> Callable[..., None]:
    """A share of the rows by what is done with one."""

    def share(stage, x, out, rows, classes, past, more, part, parts):  # type: ignore[no-untyped-def]
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            row(x, out, more, rows, classes, r, past != 0, like)
        if past:
            fence()

    return share


_group_numbers = stack(NUMBERS * (GROUP + 1))
ROWS, SUMS, RESULTS = range(3)  # whole rows, or the two stages of few long ones


def _group_kernel(row: Callable[..., None], like: Any, by_columns: bool) -> Callable[..., None]:
    """The same of rows of which a logarithm is wanted, which are taken in groups.

    Of few long ones of float32 the threads first add up pieces, whose numbers are kept at `more`,
    and then, if results are `by_columns`, write a share of each.
    """

    def share(stage, x, out, rows, classes, past, more, part, parts):  # type: ignore[no-untyped-def]
        step, place, count = classes * itemsize(like), _group_numbers(), pieces_of(classes)
        if stage == SUMS:
            for k in range(rows * count * part // parts, rows * count * (part + 1) // parts):
                piece_way(x + k // count * step, classes, k % count, more + LINE * k, like)
            return
        first, last = rows * part // parts, rows * (part + 1) // parts
        together = GROUP
        if stage == RESULTS:
            first, last, together = 0, rows, 1
        for r in range(first, last, together):
            number = min(together, last - r)
            known = True
            if stage == RESULTS:
                pieces_way(more + LINE * count * r, classes, place, like)
            else:
                known = log_sums_way(x + r * step, number, classes, place, like)
            for i in range(number):
                p = place + NUMBERS * i
                of_sum, m = load_one(p, 0.0), load_one(p + 8, 0.0)
                own = known and load_one(p + 16, 0.0) > 0
                if stage == RESULTS and own and by_columns:
                    a, b = classes * part // parts, classes * (part + 1) // parts
                    start, to = x + r * step + 4 * a, out + r * step + 4 * a
                    log_softmax_way(start, to, b - a, False, m, of_sum, like)
                elif stage == ROWS or part == 0:
                    row(x, out, rows, classes, r + i, m, of_sum, own, past != 0, like)
        if past:
            fence()

    return share


@cache
def kernel(operation: str, dtype: np.dtype[Any]) -> int:
    """The address of an operation's kernel for a working precision."""
    if operation in _LOGARITHMS:
        by_columns = operation == "log_softmax"
        made = _group_kernel(_LOGARITHMS[operation], dtype.type(0), by_columns)
    else:
        made = _kernel(_ROWS[operation], dtype.type(0))
    made.__qualname__ = f"{operation}_{dtype.name}"  # by which its code is found in the cache
    return address_of(made)
