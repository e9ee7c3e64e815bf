"""The kernels of `numba_exact`: a share of an array's rows, as C functions of addresses.

One for an operation and a format, compiled when it is first wanted: `launch` calls it on
one thread or on all. Formats are told apart by `like`, a number of the type that stands for one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numba.extending import overload

from implementations._exact.result_passes import direct
from implementations._exact.rows import (
    BLOCK,
    add_pair,
    backward_row,
    cross_entropy_row,
    log_softmax_row,
    logsumexp_row,
    reciprocal,
    softmax_row,
)
from implementations._exact.scalars import fence
from implementations._exact.short_rows import SHORT, short_rows
from implementations._exact.sum_passes import largest, total
from implementations._exact.vectors import compiled
from implementations._simd.launch import address_of, rows_at
from implementations._simd.numba_pipeline import INTERNAL

KEPT = 1 << 24  # bytes, in all threads, up to which exponentials are kept between two passes
WHOLE, TOPS, SUMS, RESULTS = range(4)  # whole rows, or the stages of one long row


@compiled(makes_arrays=True)
def scratch(x, parts):  # type: ignore[no-untyped-def]
    """Room for a row's exponentials in two parts, or none where it would be too much.

    From an address that is a multiple of 64 on, with room for whole vectors from wherever they are
    written.
    """
    wide = x.itemsize == 8
    room = x.shape[1] if x.shape[1] * (16 if wide else 8) <= KEPT // parts else 0
    each = (room + 31) // 8 * 8
    both = np.empty(each * (2 if wide else 1) + 8)
    start = (64 - both.ctypes.data % 64) % 64 // 8
    second = start + each if wide else start
    return both[start : start + room], both[second : second + room]


def short(x_at, out_at, size, classes, like, first, last):  # type: ignore[no-untyped-def]
    """Whether rows of few classes were done, in registers: float64 ones are not."""
    raise NotImplementedError("only within Numba")


@overload(short, jit_options=INTERNAL)
def _short(x_at, out_at, size, classes, like, first, last):  # type: ignore[no-untyped-def]
    if like.name == "float64":
        return lambda x_at, out_at, size, classes, like, first, last: False

    def done(x_at, out_at, size, classes, like, first, last):  # type: ignore[no-untyped-def]
        x, out = rows_at(x_at, 1, size, like)[0], rows_at(out_at, 1, size, like)[0]
        short_rows(x, out, classes, first, last)
        return True

    return done


# What is done with row `r` of the arrays at `x` and `out`, and what lies at `more`.


@compiled
def _log_softmax(x, out, more, rows, classes, like, r, high, low, stream):  # type: ignore[no-untyped-def]
    a, b = rows_at(x, rows, classes, like), rows_at(out, rows, classes, like)
    log_softmax_row(a[r], b[r], stream)


@compiled
def _logsumexp(x, out, more, rows, classes, like, r, high, low, stream):  # type: ignore[no-untyped-def]
    logsumexp_row(rows_at(x, rows, classes, like)[r], rows_at(out, 1, rows, like)[0], r)


@compiled
def _softmax_backward(x, out, more, rows, classes, like, r, high, low, stream):  # type: ignore[no-untyped-def]
    """`more` is the gradient."""
    grad, y = rows_at(more, rows, classes, like), rows_at(x, rows, classes, like)
    backward_row(grad[r], y[r], rows_at(out, rows, classes, like)[r], stream)


@compiled
def _cross_entropy(x, out, more, rows, classes, like, r, high, low, stream):  # type: ignore[no-untyped-def]
    """`more` is where the addresses of the targets (int64) and of the losses are."""
    a, b = rows_at(x, rows, classes, like), rows_at(out, rows, classes, like)
    places = rows_at(more, 1, 2, np.int64(0))[0]
    targets, loss = rows_at(places[0], 1, rows, np.int64(0))[0], rows_at(places[1], 1, rows, like)
    cross_entropy_row(a[r], targets[r], loss[0], r, b[r], high, low, stream)


@compiled
def _softmax(x, out, more, rows, classes, like, r, high, low, stream):  # type: ignore[no-untyped-def]
    a, b = rows_at(x, rows, classes, like), rows_at(out, rows, classes, like)
    softmax_row(a[r], b[r], classes * a.itemsize, high, low, stream)


@compiled
def _of_long_row(stage, x_at, out_at, classes, stream, state_at, part, parts, like):  # type: ignore[no-untyped-def]
    """A stage of one long row: the blocks divided over the parts, and the same blocks for all."""
    x, out = rows_at(x_at, 1, classes, like)[0], rows_at(out_at, 1, classes, like)[0]
    blocks = (classes + BLOCK - 1) // BLOCK
    first, last = blocks * part // parts, blocks * (part + 1) // parts
    state = rows_at(state_at, 1, parts + 2 * blocks, np.float64(0))[0]
    tops, sums = state[:parts], state[parts : parts + blocks]
    rests = state[parts + blocks :]
    if stage == TOPS:
        tops[part] = largest(x[first * BLOCK : last * BLOCK])
        return
    m = tops[0]
    for p in range(1, parts):
        m = max(m, tops[p])
    if stage == SUMS:
        for b in range(first, last):
            sums[b], rests[b] = total(x[b * BLOCK : (b + 1) * BLOCK], m)
        return
    s, rest = 0.0, 0.0
    for b in range(blocks):
        s, rest = add_pair(s, rest, sums[b], rests[b])
    f, f_rest = reciprocal(s, rest)
    share = slice(first * BLOCK, last * BLOCK)
    direct(x[share], m, f, f_rest, out[share], stream)


def _softmax_kernel(like: Any) -> Callable[..., None]:
    def share(stage, x, out, rows, classes, stream, more, part, parts):  # type: ignore[no-untyped-def]
        first, last = rows * part // parts, rows * (part + 1) // parts
        if stage != WHOLE:
            _of_long_row(stage, x, out, classes, stream != 0, more, part, parts, like)
        elif classes > SHORT or not short(x, out, rows * classes, classes, like, first, last):
            high, low = scratch(rows_at(x, rows, classes, like), parts)
            for r in range(first, last):
                _softmax(x, out, more, rows, classes, like, r, high, low, stream != 0)
        if stream:
            fence()

    return share


def _kernel(row: Callable[..., None], like: Any, keeps: bool) -> Callable[..., None]:
    """A share of the rows by what is done with one, with scratch rows if it `keeps` something."""

    def share(stage, x, out, rows, classes, stream, more, part, parts):  # type: ignore[no-untyped-def]
        high, low = scratch(rows_at(x, rows, classes if keeps else 0, like), parts)
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            row(x, out, more, rows, classes, like, r, high, low, stream != 0)
        if stream:
            fence()

    return share


_ROWS = {
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "softmax_backward": _softmax_backward,
    "cross_entropy": _cross_entropy,
}


_LIKE: dict[np.dtype[Any], Any] = {
    np.dtype(np.float64): np.float64(0),
    np.dtype(np.float32): np.float32(0),
    np.dtype(np.float16): np.int16(0),
    np.dtype(ml_dtypes.bfloat16): np.uint16(0),
}
"""How the kernels tell the formats apart: 16-bit ones by the integers of the same bytes."""


@cache
def kernel(operation: str, dtype: np.dtype[Any]) -> int:
    """The address of an operation's kernel for a format."""
    like = _LIKE[dtype]
    if operation == "softmax":
        made = _softmax_kernel(like)
    else:
        made = _kernel(_ROWS[operation], like, operation == "cross_entropy")
    made.__qualname__ = f"{operation}_{dtype.name}"  # by which its code is found in the cache
    return address_of(made)
