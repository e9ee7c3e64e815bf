"""A long row of a softmax, read once, in blocks that threads can share.

The exponentials of a block are kept in a frame of its own: in the result, or in a scratch row where
results go past the caches. Sums of blocks are merged by powers of two, and by these the blocks are
scaled, which is exact.

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
    near,
    shift_above,
    two_sum,
    unshifted_frame,
)
from implementations._numba.row import BLOCK, exponentials, extremes, is_near, sum_of
from implementations._simd.compilation import LINE, inner, internal
from implementations._simd.memory import itemsize, load_one, store_one
from implementations._simd.vectors import broadcast, larger, largest_lane, smallest_lane

HEADER = 8  # numbers before those of the blocks: largest, whether near, sum, its rest, settled
NEAR, SUM, REST, SETTLED = 8, 16, 24, 32  # bytes


@register_jitable  # type: ignore[misc]
def state_bytes(n: int) -> int:
    """Of the numbers of a row: of the whole, and four of each block."""
    return (8 * (HEADER + 4 * (n // BLOCK)) + LINE - 1) // LINE * LINE


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
def blocks_of(state, blocks):  # type: ignore[no-untyped-def]
    """Where the four numbers of each block begin."""
    first = state + 8 * HEADER
    return first, first + 8 * blocks, first + 16 * blocks, first + 24 * blocks


@inner
def frame_of_block(top, bottom, b, blocks, common, state, like):  # type: ignore[no-untyped-def]
    """The frame of block `b`, and whether it is near; with `common`, that of the whole row."""
    tops, bottoms, _, _ = blocks_of(state, blocks)
    close = is_near(top, bottom) and not common
    if common:
        return frame(broadcast(as_like(load_one(state, 0.0), like))), close
    store_one(tops + 8 * b, np.float64(largest_lane(top)))
    store_one(bottoms + 8 * b, np.float64(smallest_lane(bottom)))
    return unshifted_frame(larger(top, lowest_frame(top))), close


@inner
def keep_block(a, b2, b, blocks, state):  # type: ignore[no-untyped-def]
    """The sums of block `b`."""
    _, _, highs, lows = blocks_of(state, blocks)
    high, low = sum_of(a, b2, 0.0, 0.0)
    store_one(highs + 8 * b, high)
    store_one(lows + 8 * b, low)


@internal
def merge(n, common, state, like):  # type: ignore[no-untyped-def]
    """The row's numbers in `state` from those of its blocks; whether they are settled.

    Not settled is a row whose largest entry has to be subtracted: the sums of blocks are not
    multiples of each other by powers of two then, and are wanted in a `common` frame. NaN in any
    block is in the total. The first sum of each block gives way to the power of two that its
    exponentials are to be multiplied by.
    """
    blocks = n // BLOCK
    tops, bottoms, highs, lows = blocks_of(state, blocks)
    top, bottom = load_one(tops, 0.0), load_one(bottoms, 0.0)
    for b in range(1, blocks):
        t, low = load_one(tops + 8 * b, 0.0), load_one(bottoms + 8 * b, 0.0)
        top = t if t > top or top != top else top
        bottom = low if low < bottom else bottom
    m = as_like(top, like)
    store_one(state, top)
    close = not common and top - bottom < near(m)
    store_one(state + NEAR, 1.0 if close else 0.0)
    settled = common or abs(m) <= shift_above(m)
    store_one(state + SETTLED, 1.0 if settled else 0.0)
    if not settled:
        return False
    total, rest = 0.0, 0.0
    k = exponent(m)
    for b in range(blocks):
        t, high, low = (
            load_one(tops + 8 * b, 0.0),
            load_one(highs + 8 * b, 0.0),
            load_one(lows + 8 * b, 0.0),
        )
        weight = 0.0
        if common or high != high:
            weight = 1.0
        elif t >= top - depth(m):
            weight = math.ldexp(1.0, np.int32(exponent(as_like(t, like)) - k))
        store_one(highs + 8 * b, weight)
        total, rest = two_sum(total, rest, high * weight)
        total, rest = two_sum(total, rest, low * weight)
    total, rest = two_sum(total, 0.0, rest)
    store_one(state + SUM, total)
    store_one(state + REST, rest)
    return True


@internal
def compute(x, e, n, first, last, common, state, like):  # type: ignore[no-untyped-def]
    """Exponentials of blocks `first` to `last` of the row at `x` to `e`, and their numbers.

    With `common`, they are in the frame of the row's largest entry, and the extremes stay.
    """
    size, blocks = itemsize(like), n // BLOCK
    for b in range(first, last):
        start = b * BLOCK * size
        count = BLOCK if b < blocks - 1 else n - b * BLOCK
        top, bottom = extremes(x + start, count, like)
        framed, close = frame_of_block(top, bottom, b, blocks, common, state, like)
        p, ahead = x + start, BLOCK * size
        a, b2 = exponentials(p, e + start, count, framed, close, True, True, ahead, like)
        keep_block(a, b2, b, blocks, state)
