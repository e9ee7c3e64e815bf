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
from implementations._numba.logits import (
    FAR,
    MILD,
    NEAR,
    ends,
    extremes_with,
    first_extremes,
    mild_below,
    small_below,
)
from implementations._numba.row import (
    aligned,
    ask_for_four,
    extremes,
    four_exponentials,
    is_near,
    last_exponentials,
    looks_mild,
    release,
    room,
    row_exponentials,
    row_scale,
    tree_sum,
)
from implementations._simd.compilation import VECTOR_BYTES, inner, internal, specialised
from implementations._simd.memory import fence, itemsize, load, store, store_past
from implementations._simd.vectors import (
    all_less,
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
def turns(read, x, e, source, to, count, framed, way, close, scale, like):  # type: ignore[no-untyped-def]
    """Four vectors of each row, `count` times.

    Results of what is at `source` to `to`, which is near if `close`, exponentials of `x` to `e`,
    extremes of `read` but of a mild row. `e` may be `source` or lie before it. The exponentials'
    sum in two vectors, the largest size, and the extremes in two.
    """
    a = broadcast(0.0)
    b = a
    top = broadcast(like)
    bottom, size = top, top
    if count and way != MILD:
        top, bottom = first_extremes(read, like)
    for i in range(0, count * 4 * VECTOR_BYTES, 4 * VECTOR_BYTES):
        if way == MILD:
            ask_for_four(x + (i + AHEAD))
        else:
            ask_for_four(read + (i + AHEAD))
            for j in range(i, i + 4 * VECTOR_BYTES, VECTOR_BYTES):
                top, bottom = extremes_with(read + j, top, bottom, like)
        p = source + i
        v0 = result(p, scale, close, like)
        v1 = result(p + VECTOR_BYTES, scale, close, like)
        v2 = result(p + 2 * VECTOR_BYTES, scale, close, like)
        v3 = result(p + 3 * VECTOR_BYTES, scale, close, like)
        a, b, size = four_exponentials(x + i, e + i, framed, a, b, size, way, True, True, like)
        p = to + i
        store_past(p, v0)
        store_past(p + VECTOR_BYTES, v1)
        store_past(p + 2 * VECTOR_BYTES, v2)
        store_past(p + 3 * VECTOR_BYTES, v3)
    return a, b, size, top, bottom


@inner
def turns_by(read, x, e, source, to, count, framed, way, close, scale, like):  # type: ignore[no-untyped-def]
    """`turns`, compiled for each way; `go_together` says of which two rows."""
    if way == MILD and close:
        return turns(read, x, e, source, to, count, framed, MILD, True, scale, like)
    if way == MILD:
        return turns(read, x, e, source, to, count, framed, MILD, False, scale, like)
    if way == NEAR:
        return turns(read, x, e, source, to, count, framed, NEAR, True, scale, like)
    return turns(read, x, e, source, to, count, framed, FAR, False, scale, like)


@inner
def go_together(way, close, reading):  # type: ignore[no-untyped-def]
    """Whether a row is computed in turns with one that is written, near if `close`."""
    return way == MILD or (reading and (way == NEAR) == close)


@internal
def rest_of_exponentials(x, e, done, n, framed, a, b, size, way, like):  # type: ignore[no-untyped-def]
    """Exponentials of `n` logits after the first `done` bytes, to `e`, as `turns` takes them."""
    item = itemsize(like)
    fours = n // (4 * (VECTOR_BYTES // item)) * 4 * VECTOR_BYTES
    if way == MILD:
        for i in range(done, fours, 4 * VECTOR_BYTES):
            a, b, size = four_exponentials(x + i, e + i, framed, a, b, size, MILD, True, True, like)
        return last_exponentials(x, e, fours // item, n, framed, a, b, size, MILD, True, like)
    for i in range(done, fours, 4 * VECTOR_BYTES):
        a, b, size = four_exponentials(x + i, e + i, framed, a, b, size, FAR, True, True, like)
    return last_exponentials(x, e, fours // item, n, framed, a, b, size, FAR, True, like)


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

    A turn writes row r - 1, computes row r and reads row r + 1, where there are such rows. A row is
    taken for mild where the one before was, and then nothing has to be read before.
    """
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    scratch = room(n * size + 2 * VECTOR_BYTES)
    e = aligned(scratch) + VECTOR_BYTES
    fours, end = n // (4 * lanes), (n - lanes) * size
    a = broadcast(0.0)
    b = a
    top = broadcast(like)
    bottom, waiting, largest = top, top, top
    framed, way, was_close = frame(top), MILD, False
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
        if writing and computing and go_together(way, was_close, reading):
            count = min(fours, (vectors - start // VECTOR_BYTES) // 4)
        line, source = to - beyond + start, e - beyond + start
        read = row + n * size
        a, b, largest, top, bottom = turns_by(
            read, row, e, source, line, count, framed, way, was_close, scale, like
        )
        done = count * 4 * VECTOR_BYTES
        if writing:
            for i in range(done, vectors * VECTOR_BYTES - start, VECTOR_BYTES):
                store_past(line + i, result(source + i, scale, was_close, like))
            waiting = result(e - beyond + vectors * VECTOR_BYTES, scale, was_close, like)
            if r == last:
                store(to + end, result(e + end, scale, was_close, like))
        if computing:
            a, b, largest = rest_of_exponentials(row, e, done, n, framed, a, b, largest, way, like)
            total, rest = tree_sum(a, b)
            was_close = way == NEAR or (way == MILD and all_less(largest, small_below(x, like)))
            if way == MILD and not all_less(largest, mild_below(x, like)):
                count = 0
                top, bottom = extremes(row, n, like)
                way = NEAR if is_near(top, bottom) else FAR
                was_close = way == NEAR
                total, rest = row_exponentials(row, e, n, frame(top), way, True, 0, like)
            scale = row_scale(x, total, rest, like)
        if reading and way != MILD:
            if count == 0:
                top, bottom = first_extremes(read, like)
            top, bottom = rest_of_extremes(read, count * 4 * lanes, n, top, bottom, like)
            framed, way = frame(top), NEAR if is_near(top, bottom) else FAR
            if looks_mild(top, bottom):
                way = MILD
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
