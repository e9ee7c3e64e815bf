"""A long row of a softmax, read twice, in blocks that threads can share.

Sums of blocks, each in a frame of its own, are merged by powers of two, which is exact; the
exponentials are taken once more from a second read of the row.
"""

from __future__ import annotations

import math

import numpy as np

from implementations._numba_exp import (
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
from implementations._numba_row import (
    BLOCK,
    CHUNK,
    HELD,
    aligned,
    exponentials,
    extremes,
    is_near,
    multiples,
    release,
    room,
    row_scale,
    sum_of,
)
from implementations._simd import broadcast, larger, largest_lane, smallest_lane
from implementations._simd_memory import itemsize, load_one, store_one
from implementations._simd_path import LINE, VECTOR_BYTES, compiled, inner
from implementations._simd_stream import finish, flush

STATE = 8  # numbers before those of the blocks: largest, whether near, sum, its rest, settled
SETTLED = 4


@compiled
def block_sums(x, n, first, last, common, state, like):  # type: ignore[no-untyped-def]
    """Of blocks `first` to `last` of a row: extremes, and sums in frames of their own.

    With `common`, the sums are in the frame of state[0], and the extremes stay.
    """
    size = itemsize(like)
    blocks = n // BLOCK
    tops, bottoms, highs, lows = blocks_of(state, blocks)
    for b in range(first, last):
        count = BLOCK if b < blocks - 1 else n - b * BLOCK
        block = x + b * BLOCK * size
        top, bottom = extremes(block, count, like)
        close = is_near(top, bottom) and not common
        if common:
            framed = frame(broadcast(as_like(load_one(state, 0.0), like)))
        else:
            store_one(tops + 8 * b, np.float64(largest_lane(top)))
            store_one(bottoms + 8 * b, np.float64(smallest_lane(bottom)))
            framed = unshifted_frame(larger(top, lowest_frame(top)))
        a, b2 = exponentials(block, 0, count, framed, close, False, False, 0, like)
        high, low = sum_of(a, b2, 0.0, 0.0)
        store_one(highs + 8 * b, high)
        store_one(lows + 8 * b, low)


@inner
def blocks_of(state, blocks):  # type: ignore[no-untyped-def]
    """Where the four numbers of each block begin."""
    first = state + 8 * STATE
    return first, first + 8 * blocks, first + 16 * blocks, first + 24 * blocks


@compiled
def merge(n, common, state, like):  # type: ignore[no-untyped-def]
    """The row's numbers in `state` from those of its blocks; whether they are settled.

    Not settled is a row whose largest entry has to be subtracted: the sums of blocks are not
    multiples of each other by powers of two then, and are wanted in a `common` frame. NaN in any
    block is in the total.
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
    store_one(state + 8, 1.0 if close else 0.0)
    if not common and not abs(m) <= shift_above(m):
        return False
    total, rest = 0.0, 0.0
    k = exponent(m)
    for b in range(blocks):
        t, high, low = (
            load_one(tops + 8 * b, 0.0),
            load_one(highs + 8 * b, 0.0),
            load_one(lows + 8 * b, 0.0),
        )
        if common or high != high:
            weight = 1.0
        elif t >= top - depth(m):
            weight = math.ldexp(1.0, np.int32(exponent(as_like(t, like)) - k))
        else:
            continue
        total, rest = two_sum(total, rest, high * weight)
        total, rest = two_sum(total, rest, low * weight)
    total, rest = two_sum(total, 0.0, rest)
    store_one(state + 16, total)
    store_one(state + 24, rest)
    return True


@compiled
def second_read(x, y, n, first, last, state, past, like):  # type: ignore[no-untyped-def]
    """Results of the blocks `first` to `last` of a row."""
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    exponentials_, buffer = (
        room((CHUNK + lanes) * size),
        room((CHUNK + 2 * lanes) * size + HELD + LINE),
    )
    e, staging = aligned(exponentials_), aligned(buffer)
    start = first * BLOCK
    stop = n if last == n // BLOCK else last * BLOCK
    to = y + start * size
    foreign = to % LINE
    to -= foreign
    held = foreign
    framed = frame(broadcast(as_like(load_one(state, 0.0), like)))
    close = load_one(state + 8, 0.0) > 0
    scale = row_scale(load_one(state + 16, 0.0), load_one(state + 24, 0.0), like)
    while start < stop:
        count = CHUNK if stop - start >= CHUNK + lanes else stop - start
        exponentials(x + start * size, e, count, framed, close, True, True, 0, like)
        multiples(e, staging + held, count, scale, close, like)
        held += count * size
        to, held, foreign = flush(to, staging, held, foreign, past, like)
        start += count
    finish(to, staging, held, foreign, past, like)
    release(exponentials_)
    release(buffer)
