"""The compiled entries of `numba_exact`: all rows of an array, divided over the threads.

Arrays are given by address: one compiled version serves those that may be written and those that
may not. `like` is a number of the type that stands for the format.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.extending import overload

from implementations._numba_exact_loops import (
    SHORT,
    as_rows,
    direct,
    fence,
    largest,
    short_rows,
    total,
)
from implementations._numba_exact_rows import (
    BLOCK,
    SCRATCH,
    add_pair,
    backward_row,
    cross_entropy_row,
    log_softmax_row,
    logsumexp_row,
    reciprocal,
    softmax_row,
)
from implementations._numba_exact_vectors import compiled


def short(x_at, out_at, size, classes, like, first, last):  # type: ignore[no-untyped-def]
    """Whether rows of few classes were done, in registers: float64 ones are not."""
    raise NotImplementedError("only within Numba")


@overload(short)
def _short(x_at, out_at, size, classes, like, first, last):  # type: ignore[no-untyped-def]
    if like.name == "float64":
        return lambda x_at, out_at, size, classes, like, first, last: False

    def done(x_at, out_at, size, classes, like, first, last):  # type: ignore[no-untyped-def]
        x, out = as_rows(x_at, 1, size, like)[0], as_rows(out_at, 1, size, like)[0]
        short_rows(x, out, classes, first, last)
        return True

    return done


_threaded = compiled(cache=True, makes_arrays=True, parallel=True)


@compiled(makes_arrays=True)
def _scratch(x):  # type: ignore[no-untyped-def]
    """Room for a row's exponentials in two parts, from an address that is a multiple of 64 on.

    With room for whole vectors from wherever they are written.
    """
    room = (min(x.shape[1], SCRATCH) + 31) // 8 * 8
    second = room if x.itemsize == 8 else 0
    both = np.empty(room + second + 8)
    start = (64 - both.ctypes.data % 64) % 64 // 8
    return both[start : start + room], both[start + second : start + second + room]


@compiled(makes_arrays=True)
def _softmax_rows(x_at, out_at, rows, classes, like, first, last, stream):  # type: ignore[no-untyped-def]
    if classes <= SHORT and short(x_at, out_at, rows * classes, classes, like, first, last):
        return
    x, out = as_rows(x_at, rows, classes, like), as_rows(out_at, rows, classes, like)
    high, low = _scratch(x)
    ahead = classes * x.itemsize
    for r in range(first, last):
        softmax_row(x[r], out[r], ahead, high, low, stream)
    if stream:
        fence()


@_threaded
def softmax(x, out, rows, classes, like, parts, stream):  # type: ignore[no-untyped-def]
    """Softmax of contiguous rows, in `parts` shares."""
    if parts == 1:
        _softmax_rows(x, out, rows, classes, like, 0, rows, stream)
    else:
        for p in prange(parts):
            first, last = rows * p // parts, rows * (p + 1) // parts
            _softmax_rows(x, out, rows, classes, like, first, last, stream)


@compiled
def _largest_of(x_at, rows, classes, like, r, start, stop):  # type: ignore[no-untyped-def]
    return largest(as_rows(x_at, rows, classes, like)[r][start:stop])


@compiled
def _block_total(x_at, rows, classes, like, r, b, m):  # type: ignore[no-untyped-def]
    return total(as_rows(x_at, rows, classes, like)[r][b * BLOCK : (b + 1) * BLOCK], m)


@compiled
def _direct_part(x_at, out_at, rows, classes, like, r, m, f, f_rest, start, stop, stream):  # type: ignore[no-untyped-def]
    x, out = as_rows(x_at, rows, classes, like), as_rows(out_at, rows, classes, like)
    direct(x[r][start:stop], m, f, f_rest, out[r][start:stop], stream)
    if stream:
        fence()


@_threaded
def softmax_split(x, out, rows, classes, like, parts, stream):  # type: ignore[no-untyped-def]
    """Few long rows: the blocks of each divided over the threads, the same blocks."""
    blocks = (classes + BLOCK - 1) // BLOCK
    tops, sums, rests = np.empty(parts), np.empty(blocks), np.empty(blocks)
    for r in range(rows):
        for p in prange(parts):
            start, stop = blocks * p // parts * BLOCK, blocks * (p + 1) // parts * BLOCK
            tops[p] = _largest_of(x, rows, classes, like, r, start, stop)
        m = tops.max()
        for p in prange(parts):
            for b in range(blocks * p // parts, blocks * (p + 1) // parts):
                sums[b], rests[b] = _block_total(x, rows, classes, like, r, b, m)
        s, rest = 0.0, 0.0
        for b in range(blocks):
            s, rest = add_pair(s, rest, sums[b], rests[b])
        f, f_rest = reciprocal(s, rest)
        for p in prange(parts):
            start, stop = blocks * p // parts * BLOCK, blocks * (p + 1) // parts * BLOCK
            _direct_part(x, out, rows, classes, like, r, m, f, f_rest, start, stop, stream)


@compiled
def _log_softmax_rows(x_at, out_at, rows, classes, like, first, last, stream):  # type: ignore[no-untyped-def]
    x, out = as_rows(x_at, rows, classes, like), as_rows(out_at, rows, classes, like)
    for r in range(first, last):
        log_softmax_row(x[r], out[r], stream)
    if stream:
        fence()


@_threaded
def log_softmax(x, out, rows, classes, like, parts, stream):  # type: ignore[no-untyped-def]
    if parts == 1:
        _log_softmax_rows(x, out, rows, classes, like, 0, rows, stream)
    else:
        for p in prange(parts):
            first, last = rows * p // parts, rows * (p + 1) // parts
            _log_softmax_rows(x, out, rows, classes, like, first, last, stream)


@compiled
def _logsumexp_rows(x_at, out_at, rows, classes, like, first, last):  # type: ignore[no-untyped-def]
    x, out = as_rows(x_at, rows, classes, like), as_rows(out_at, 1, rows, like)
    for r in range(first, last):
        logsumexp_row(x[r], out[0], r)


@_threaded
def logsumexp(x, out, rows, classes, like, parts):  # type: ignore[no-untyped-def]
    if parts == 1:
        _logsumexp_rows(x, out, rows, classes, like, 0, rows)
    else:
        for p in prange(parts):
            first, last = rows * p // parts, rows * (p + 1) // parts
            _logsumexp_rows(x, out, rows, classes, like, first, last)


@compiled
def _backward_rows(grad_at, y_at, out_at, rows, classes, like, first, last, stream):  # type: ignore[no-untyped-def]
    grad, y = as_rows(grad_at, rows, classes, like), as_rows(y_at, rows, classes, like)
    out = as_rows(out_at, rows, classes, like)
    for r in range(first, last):
        backward_row(grad[r], y[r], out[r], stream)
    if stream:
        fence()


@_threaded
def softmax_backward(grad, y, out, rows, classes, like, parts, stream):  # type: ignore[no-untyped-def]
    if parts == 1:
        _backward_rows(grad, y, out, rows, classes, like, 0, rows, stream)
    else:
        for p in prange(parts):
            first, last = rows * p // parts, rows * (p + 1) // parts
            _backward_rows(grad, y, out, rows, classes, like, first, last, stream)


@compiled(makes_arrays=True)
def _cross_entropy_rows(
    x_at, targets_at, loss_at, out_at, rows, classes, like, first, last, stream
):  # type: ignore[no-untyped-def]
    x, out = as_rows(x_at, rows, classes, like), as_rows(out_at, rows, classes, like)
    targets, loss = as_rows(targets_at, 1, rows, np.int64(0)), as_rows(loss_at, 1, rows, like)
    high, low = _scratch(x)
    for r in range(first, last):
        target = targets[0, r]
        cross_entropy_row(x[r], target, loss[0], r, out[r], high, low, stream)
    if stream:
        fence()


@_threaded
def cross_entropy(x, targets, loss, out, rows, classes, like, parts, stream):  # type: ignore[no-untyped-def]
    """`targets` int64; the loss and the gradient."""
    if parts == 1:
        _cross_entropy_rows(x, targets, loss, out, rows, classes, like, 0, rows, stream)
    else:
        for p in prange(parts):
            first, last = rows * p // parts, rows * (p + 1) // parts
            _cross_entropy_rows(x, targets, loss, out, rows, classes, like, first, last, stream)
