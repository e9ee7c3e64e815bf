"""A long row of a softmax, read once, in blocks that threads can share.

The exponentials of a block are kept in a frame of its own, or in none if it is mild: in the result,
or in a scratch row where results go past the caches. Sums of blocks are merged by powers of two,
and by these the blocks are scaled, which is exact.

Past the caches a turn writes row r - 1 and computes row r (`long_row_results`), so that one
scratch row is enough.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from implementations._numba.exponential import (
    as_like,
    depth,
    exponent,
    frame,
    lowest_frame,
    shift_above,
    small,
    two_sum,
    unshifted_frame,
)
from implementations._numba.logits import FAR, MILD, NEAR, mild_below
from implementations._numba.row import (
    BLOCK,
    can_be_mild,
    exponentials,
    extremes,
    is_near,
    looks_mild,
    sum_of,
)
from implementations._simd.compilation import LINE, inner, internal
from implementations._simd.memory import itemsize, load_one, store_one
from implementations._simd.vectors import (
    BIAS,
    all_less,
    broadcast,
    larger,
    largest_lane,
    smallest_lane,
)

CLOSE, SUM, REST, SETTLED, MILDNESS = 8, 16, 24, 32, 40  # bytes, behind a row's largest entry
_LARGE = 2.0  # of a block: its largest size is not small
TOP, BOTTOM, HIGH, LOW, EXPONENT, WEIGHT, BEFORE = range(0, 56, 8)  # of a block


@register_jitable  # type: ignore[misc]
def state_bytes(n: int) -> int:
    """Of the numbers of a row: a line of its own, and one of each block.

    Threads that write beside each other in one line wait for each other.
    """
    return LINE * (1 + n // BLOCK)


@inner
def state_of(room, n, r):  # type: ignore[no-untyped-def]
    """The numbers of row `r`, at the beginning of a room for two rows'."""
    return room + (r & 1) * state_bytes(n)


@inner
def kept_at(room, x, y, n, r, past, like):  # type: ignore[no-untyped-def]
    """Where the exponentials of row `r` are: in the result, or behind the room's numbers.

    Not in the result where it is the input, which may have to be read again.
    """
    if past or x == y:
        return room + 2 * state_bytes(n)
    return y + r * n * itemsize(like)


@inner
def numbers_of(state, b):  # type: ignore[no-untyped-def]
    """Where those of block `b` are."""
    return state + LINE * (1 + b)


@inner
def bounds_of(n, b):  # type: ignore[no-untyped-def]
    """Number of the first entry of block `b`, and how many it has."""
    return b * BLOCK, BLOCK if b < n // BLOCK - 1 else n - b * BLOCK


@inner
def unread_block(largest, b, state, like):  # type: ignore[no-untyped-def]
    """Block `b` is mild, in no frame; of its extremes nothing is known but the largest size."""
    place, limit = numbers_of(state, b), small(broadcast(like))
    store_one(place + TOP, -1.0)
    store_one(place + BOTTOM, 1.0 if all_less(largest, limit) else _LARGE)
    store_one(place + EXPONENT, np.float64(BIAS))


@inner
def is_unread(place):  # type: ignore[no-untyped-def]
    return load_one(place + TOP, 0.0) < load_one(place + BOTTOM, 0.0)


@inner
def frame_of_block(top, bottom, b, common, state, like):  # type: ignore[no-untyped-def]
    """The frame of block `b`, and the way to take it; with `common`, that of the whole row."""
    if common:
        return frame(broadcast(as_like(load_one(state, 0.0), like))), FAR
    place, largest = numbers_of(state, b), largest_lane(larger(top, lowest_frame(top)))
    store_one(place + TOP, np.float64(largest_lane(top)))
    store_one(place + BOTTOM, np.float64(smallest_lane(bottom)))
    store_one(place + EXPONENT, np.float64(exponent(largest)))
    return unshifted_frame(broadcast(largest)), NEAR if is_near(top, bottom) else FAR


@inner
def keep_block(a, b2, b, state):  # type: ignore[no-untyped-def]
    """The sums of block `b`."""
    high, low = sum_of(a, b2, 0.0, 0.0)
    store_one(numbers_of(state, b) + HIGH, high)
    store_one(numbers_of(state, b) + LOW, low)


@internal
def row_extremes(x, n, state, like):  # type: ignore[no-untyped-def]
    """Largest and smallest entry of a row from those of its blocks; mild ones are read for it."""
    top, bottom = -np.inf, np.inf
    for b in range(n // BLOCK):
        place = numbers_of(state, b)
        if is_unread(place):
            start, count = bounds_of(n, b)
            largest, smallest = extremes(x + start * itemsize(like), count, like)
            store_one(place + TOP, np.float64(largest_lane(largest)))
            store_one(place + BOTTOM, np.float64(smallest_lane(smallest)))
        t, low = load_one(place + TOP, 0.0), load_one(place + BOTTOM, 0.0)
        top = t if t > top or top != top else top
        bottom = low if low < bottom else bottom
    return top, bottom


@inner
def mild_sum(n, state):  # type: ignore[no-untyped-def]
    """(whether all blocks of a row are mild and unread, near too, its sum as two numbers)."""
    total, rest, close = 0.0, 0.0, True
    for b in range(n // BLOCK):
        place = numbers_of(state, b)
        if not is_unread(place):
            return False, False, 0.0, 0.0
        close = close and load_one(place + BOTTOM, 0.0) < _LARGE
        total, rest = two_sum(total, rest, load_one(place + HIGH, 0.0))
        total, rest = two_sum(total, rest, load_one(place + LOW, 0.0))
    return True, close, total, rest


@inner
def weighted_sum(n, m, common, state):  # type: ignore[no-untyped-def]
    """The row's sum as two numbers; the weight of each block is kept."""
    total, rest = 0.0, 0.0
    k, lowest = exponent(m), np.float64(m) - depth(m)
    for b in range(n // BLOCK):
        place = numbers_of(state, b)
        high, low = load_one(place + HIGH, 0.0), load_one(place + LOW, 0.0)
        weight = 0.0
        if common or high != high:
            weight = 1.0
        elif load_one(place + TOP, 0.0) >= lowest:
            weight = math.ldexp(1.0, np.int32(load_one(place + EXPONENT, 0.0) - k))
        store_one(place + WEIGHT, weight)
        total, rest = two_sum(total, rest, high * weight)
        total, rest = two_sum(total, rest, low * weight)
    return total, rest


@internal
def merge(x, n, common, exact, state, like):  # type: ignore[no-untyped-def]
    """The row's numbers in `state` from those of its blocks; whether they are settled.

    Not settled is a row whose largest entry has to be subtracted: the sums of blocks are not
    multiples of each other by powers of two then, and are wanted in a `common` frame. NaN in any
    block is in the total. The weight of a block is the power of two that its exponentials are to be
    multiplied by; those of a mild row are in no frame and have none. If `exact`, the sum is in the
    frame of the largest entry.
    """
    mild, close, total, rest = False, False, 0.0, 0.0
    if not common and not exact:
        mild, close, total, rest = mild_sum(n, state)
    if not mild:
        top, bottom = row_extremes(x, n, state, like)
        m = as_like(top, like)
        store_one(state, top)
        settled = common or abs(m) <= shift_above(m)
        store_one(state + SETTLED, 1.0 if settled else 0.0)
        if not settled:
            return False
        wide = broadcast(m), broadcast(as_like(bottom, like))
        close = not common and is_near(wide[0], wide[1])
        total, rest = weighted_sum(n, m, common, state)
    total, rest = two_sum(total, 0.0, rest)
    store_one(state + CLOSE, 1.0 if close else 0.0)
    store_one(state + MILDNESS, 1.0 if mild else 0.0)
    store_one(state + SETTLED, 1.0)
    store_one(state + SUM, total)
    store_one(state + REST, rest)
    return True


@internal
def compute(x, e, n, first, last, common, exact, guess, state, like):  # type: ignore[no-untyped-def]
    """Exponentials of blocks `first` to `last` of the row at `x` to `e`, and their numbers.

    A mild block is in no frame, any other in one of its own; with `common`, all are in that of the
    row's largest entry, and the extremes stay. If `exact`, the sums have no roundings of float32.
    `guess`: whether the first block is taken for mild; whether the next one should be.
    """
    size = itemsize(like)
    may = can_be_mild(like) and not common
    guess = guess and may
    none = frame(broadcast(like))
    for b in range(first, last):
        start, count = bounds_of(n, b)
        p, q, ahead = x + start * size, e + start * size, BLOCK * size
        mild, a, largest = False, broadcast(0.0), broadcast(like)
        b2 = a
        if guess:
            a, b2, largest = exponentials(p, q, count, none, MILD, not exact, True, ahead, like)
            mild = all_less(largest, mild_below(x, like))
        if not mild:
            top, bottom = extremes(p, count, like)
            framed, way = none, MILD
            if may and looks_mild(top, bottom):
                mild = True
            else:
                framed, way = frame_of_block(top, bottom, b, common, state, like)
            a, b2, largest = exponentials(p, q, count, framed, way, not exact, True, ahead, like)
        guess = mild
        if mild:
            unread_block(largest, b, state, like)
        keep_block(a, b2, b, state)
    return guess
