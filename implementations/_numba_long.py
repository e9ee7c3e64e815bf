"""A long row of a softmax, read once, in blocks that threads can share.

The exponentials of a block are kept in a frame of its own: in the result, or in a scratch row where
results go past the caches. Sums of blocks are merged by powers of two, and by these the blocks are
scaled, which is exact.

Past the caches a turn writes row r - 1 and computes row r, block by block, so that memory and
arithmetic are busy at the same time, and one scratch row is enough.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable

from implementations._numba_exp import (
    as_like,
    depth,
    exponent,
    frame,
    lowest_frame,
    near,
    near_scaled,
    scaled,
    shift_above,
    two_sum,
    unshifted_frame,
)
from implementations._numba_pipeline import rest_of_extremes, turns
from implementations._numba_row import (
    BLOCK,
    exponentials,
    extremes,
    four_exponentials,
    is_near,
    last_exponentials,
    row_scale,
    sum_of,
)
from implementations._simd import broadcast, larger, largest_lane, smallest_lane
from implementations._simd_memory import (
    fence,
    itemsize,
    load,
    load_one,
    stack,
    store,
    store_one,
    store_past,
)
from implementations._simd_path import LINE, VECTOR_BYTES, inner, internal, specialised
from implementations._simd_stream import write_part

HEADER = 8  # numbers before those of the blocks: largest, whether near, sum, its rest, settled
NEAR, SUM, REST, SETTLED = 8, 16, 24, 32  # bytes

LEAST = 2.0**-20  # a power that keeps the scale of a near block in the normal range

_shared = stack(2 * VECTOR_BYTES)


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


def block_scale(scale: Any, power: float, like: Any) -> Any:
    """A row's scale for a block whose exponentials are to be multiplied by `power` as well."""
    raise NotImplementedError("only within Numba")


def block_result(e: Any, power: float, scale: Any, close: bool) -> Any:
    """Exponentials of a block times its scale.

    Of float64 the power comes first: that product is subnormal only where the result is 0.
    """
    raise NotImplementedError("only within Numba")


@specialised(block_scale)
def _block_scale(scale, power, like):  # type: ignore[no-untyped-def]
    def single(scale, power, like):  # type: ignore[no-untyped-def]
        weight, wide = broadcast(as_like(power, like)), broadcast(power)
        return scale[0] * weight, scale[1] * weight, scale[2] * wide, scale[3] * wide

    return single if like == types.float32 else lambda scale, power, like: scale


@specialised(block_result)
def _block_result(e, power, scale, close):  # type: ignore[no-untyped-def]
    if e.element == types.float64:
        return lambda e, power, scale, close: scaled(e * broadcast(power), scale)

    def single(e, power, scale, close):  # type: ignore[no-untyped-def]
        if close:
            return near_scaled(e, scale)
        return scaled(e, scale)

    return single


@inner
def results(e, to, n, power, scale, close, like):  # type: ignore[no-untyped-def]
    """Of `n` exponentials, to `to`, which may be `e`."""
    end = n * itemsize(like) - VECTOR_BYTES
    last = load(e + end, like)
    if close:
        for i in range(0, end, VECTOR_BYTES):
            store(to + i, block_result(load(e + i, like), power, scale, True))
        store(to + end, block_result(last, power, scale, True))
    else:
        for i in range(0, end, VECTOR_BYTES):
            store(to + i, block_result(load(e + i, like), power, scale, False))
        store(to + end, block_result(last, power, scale, False))


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


@inner
def block_way(state, b, blocks, like):  # type: ignore[no-untyped-def]
    """(power, scale, close) of block `b` of a row that is merged."""
    power = load_one(blocks_of(state, blocks)[2] + 8 * b, 0.0)
    scale = row_scale(load_one(state + SUM, 0.0), load_one(state + REST, 0.0), like)
    close = load_one(state + NEAR, 0.0) > 0 and power >= LEAST
    return power, block_scale(scale, power, like), close


@internal
def write(e, y, n, first, last, state, like):  # type: ignore[no-untyped-def]
    """Results of blocks `first` to `last` of the row at `y`, which may be `e`."""
    size, blocks = itemsize(like), n // BLOCK
    for b in range(first, last):
        start = b * BLOCK * size
        count = BLOCK if b < blocks - 1 else n - b * BLOCK
        power, scale, close = block_way(state, b, blocks, like)
        results(e + start, y + start, count, power, scale, close, like)


@inner
def one_result(e, power, scale, close, like):  # type: ignore[no-untyped-def]
    if close:
        return block_result(load(e, like), power, scale, True)
    return block_result(load(e, like), power, scale, False)


@internal
def write_past(x, e, y, n, first, last, state, before, like):  # type: ignore[no-untyped-def]
    """Blocks `first` to `last` of two rows: results of the one kept at `e`, whose numbers are
    `before`, past the caches to `y`; and the one at `x`, unless that is 0, to `e`.

    A vector of the result that two blocks share waits in `shared` for its other part.
    """
    size, blocks = itemsize(like), n // BLOCK
    lanes = VECTOR_BYTES // size
    shared = _shared()
    top = broadcast(like)
    bottom = top
    framed, close = frame(top), False
    if x:
        top, bottom = extremes(x + first * BLOCK * size, BLOCK, like)
    for b in range(first, last):
        start = b * BLOCK * size
        count = BLOCK if b < blocks - 1 else n - b * BLOCK
        row, kept, result = x + start, e + start, y + start
        if x:
            if b == blocks - 1:
                top, bottom = extremes(row, count, like)
            framed, close = frame_of_block(top, bottom, b, blocks, False, state, like)
        power, scale, was_close = block_way(before, b, blocks, like)
        beyond = result % VECTOR_BYTES  # bytes of the block's first vector that are before it
        skip = (-beyond) % VECTOR_BYTES
        vectors = (count * size - skip) // VECTOR_BYTES
        end = skip + vectors * VECTOR_BYTES
        if beyond:
            store(shared + beyond, one_result(kept, power, scale, was_close, like))
            if b == first:  # the rest of the vector is another thread's
                write_part(result - beyond, shared, beyond, VECTOR_BYTES, like)
            else:
                store_past(result - beyond, load(shared, like))
        a = broadcast(0.0)
        b2 = a
        done = 0
        if size == 4 and x and b + 1 < last and close == was_close:
            done = min(vectors, count // lanes) // 4
            source, line, read = kept + skip, result + skip, row + BLOCK * size
            if close:
                a, b2, top, bottom = turns(
                    read, row, kept, source, line, done, framed, True, scale, like
                )
            else:
                a, b2, top, bottom = turns(
                    read, row, kept, source, line, done, framed, False, scale, like
                )
            top, bottom = rest_of_extremes(read, 4 * done * lanes, BLOCK, top, bottom, like)
        elif x and b + 1 < last:
            top, bottom = extremes(row + BLOCK * size, BLOCK, like)
        done *= 4 * VECTOR_BYTES
        for i in range(skip + done, end, VECTOR_BYTES):
            store_past(result + i, one_result(kept + i, power, scale, was_close, like))
        store(shared, one_result(kept + end, power, scale, was_close, like))
        if b == last - 1:
            write_part(result + end, shared, 0, count * size - end, like)
        if x:
            fours = count // (4 * lanes) * 4 * VECTOR_BYTES
            for i in range(done, fours, 4 * VECTOR_BYTES):
                p, q = row + i, kept + i
                a, b2 = four_exponentials(p, q, framed, a, b2, close, True, True, like)
            a, b2 = last_exponentials(row, kept, fours // size, count, framed, a, b2, True, like)
            keep_block(a, b2, b, blocks, state)
    fence()
