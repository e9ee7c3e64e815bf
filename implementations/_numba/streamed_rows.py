"""Rows of a softmax past the caches, three at a time: one is read, one computed, one written.

In one loop over the vectors of a row: results of the row before go out past the caches,
exponentials of this row take their place in a scratch row, and the largest and smallest entry of
the next one are found, which brings it into the caches. Memory and arithmetic are busy at the same
time, which they are not where these are passes one after the other.

The result is a stream of whole vectors: what a row has beyond its last one waits in a register for
the first numbers of the next row. To the bit what `row` gives.
"""

from __future__ import annotations

from typing import Any

from numba import types

from implementations._numba.exponential import frame, near_scaled, scaled
from implementations._numba.logits import ends, extremes_with, first_extremes
from implementations._numba.row import (
    aligned,
    ask_for_four,
    four_exponentials,
    is_near,
    last_exponentials,
    release,
    room,
    row_scale,
    tree_sum,
)
from implementations._simd.compilation import VECTOR_BYTES, inner, internal, specialised
from implementations._simd.memory import fence, itemsize, load, store, store_past
from implementations._simd.vectors import (
    broadcast,
    joined_at,
    largest_lane,
    smallest_lane,
)

AHEAD = 2048  # bytes before it is read that memory is asked for
SHORT = 256  # classes below which what is beside the loop costs more than it saves


@inner
def result(e, scale, close, like):  # type: ignore[no-untyped-def]
    """A vector of results from one of the scratch row."""
    if close:
        return near_scaled(load(e, like), scale)
    return scaled(load(e, like), scale)


@internal
def turns(read, x, e, source, to, count, framed, close, scale, like):  # type: ignore[no-untyped-def]
    """Four vectors of each row, `count` times.

    Results of what is at `source` to `to`, exponentials of `x` to `e`, extremes of `read`. `e` may
    be `source` or lie before it. The exponentials' sum in two vectors, and the extremes in two.
    """
    a = broadcast(0.0)
    b = a
    top = broadcast(like)
    bottom = top
    if count:
        top, bottom = first_extremes(read, like)
    for i in range(0, count * 4 * VECTOR_BYTES, 4 * VECTOR_BYTES):
        ask_for_four(read + (i + AHEAD))
        for j in range(i, i + 4 * VECTOR_BYTES, VECTOR_BYTES):
            top, bottom = extremes_with(read + j, top, bottom, like)
        p = source + i
        v0 = result(p, scale, close, like)
        v1 = result(p + VECTOR_BYTES, scale, close, like)
        v2 = result(p + 2 * VECTOR_BYTES, scale, close, like)
        v3 = result(p + 3 * VECTOR_BYTES, scale, close, like)
        a, b = four_exponentials(x + i, e + i, framed, a, b, close, True, True, like)
        p = to + i
        store_past(p, v0)
        store_past(p + VECTOR_BYTES, v1)
        store_past(p + 2 * VECTOR_BYTES, v2)
        store_past(p + 3 * VECTOR_BYTES, v3)
    return a, b, top, bottom


@inner
def rest_of_extremes(x, done, n, top, bottom, like):  # type: ignore[no-untyped-def]
    """Extremes of `n` entries as vectors of one number, from those of the first `done`."""
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    for i in range(done, n, lanes):
        top, bottom = extremes_with(x + size * min(i, n - lanes), top, bottom, like)
    return ends(x, broadcast(largest_lane(top)), broadcast(smallest_lane(bottom)))


@internal
def rows_in_turns(x, y, first, last, n, like):  # type: ignore[no-untyped-def]
    """Softmax of rows `first` to `last` past the caches.

    A turn writes row r - 1, computes row r and reads row r + 1, where there are such rows.
    """
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    scratch = room(n * size + 2 * VECTOR_BYTES)
    e = aligned(scratch) + VECTOR_BYTES
    fours, end = n // (4 * lanes), (n - lanes) * size
    a = broadcast(0.0)
    b = a
    top = broadcast(like)
    bottom, waiting = top, top
    framed, close, was_close = frame(top), False, False
    scale = row_scale(x, 1.0, 0.0, like)
    for r in range(first - 1, last + 1):
        writing, computing, reading = r > first, first <= r < last, r + 1 < last
        row = x + r * n * size
        to = y + (r - 1) * n * size
        beyond = to % VECTOR_BYTES  # bytes of the row's first vector that are of the row before
        vectors = (n * size + beyond) // VECTOR_BYTES
        start = VECTOR_BYTES if beyond else 0
        if writing and beyond and r == first + 1:  # which another thread may be writing
            store(to, result(e, scale, was_close, like))
        elif writing and beyond:
            v = result(e - beyond, scale, was_close, like)
            store_past(to - beyond, joined_at(waiting, v, beyond // size))
        count = 0
        if writing and computing and reading and close == was_close:
            count = min(fours, (vectors - start // VECTOR_BYTES) // 4)
        line, source = to - beyond + start, e - beyond + start
        read = row + n * size
        if close:
            a, b, top, bottom = turns(read, row, e, source, line, count, framed, True, scale, like)
        else:
            a, b, top, bottom = turns(read, row, e, source, line, count, framed, False, scale, like)
        done = count * 4 * VECTOR_BYTES
        if writing:
            for i in range(done, vectors * VECTOR_BYTES - start, VECTOR_BYTES):
                store_past(line + i, result(source + i, scale, was_close, like))
            waiting = result(e - beyond + vectors * VECTOR_BYTES, scale, was_close, like)
            if r == last:
                store(to + end, result(e + end, scale, was_close, like))
        if computing:
            for i in range(done, fours * 4 * VECTOR_BYTES, 4 * VECTOR_BYTES):
                a, b = four_exponentials(row + i, e + i, framed, a, b, close, True, True, like)
            a, b = last_exponentials(row, e, fours * 4 * lanes, n, framed, a, b, True, like)
            total, rest = tree_sum(a, b)
            scale, was_close = row_scale(x, total, rest, like), close
        if reading:
            if count == 0:
                top, bottom = first_extremes(read, like)
            top, bottom = rest_of_extremes(read, count * 4 * lanes, n, top, bottom, like)
            framed, close = frame(top), is_near(top, bottom)
    fence()
    release(scratch)


def taken_in_turns(x: int, y: int, first: int, last: int, n: int, like: Any) -> bool:
    """Whether rows of `n` of the format are taken so, and then that is done.

    Not float64, whose exponentials take longer than memory does.
    """
    raise NotImplementedError("only within Numba")


@specialised(taken_in_turns)
def _taken_in_turns(x, y, first, last, n, like):  # type: ignore[no-untyped-def]
    if like == types.float64:
        return lambda x, y, first, last, n, like: False

    def done(x, y, first, last, n, like):  # type: ignore[no-untyped-def]
        if n < SHORT:
            return False
        rows_in_turns(x, y, first, last, n, like)
        return True

    return done
