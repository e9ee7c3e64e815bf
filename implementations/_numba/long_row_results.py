"""Results of a long row from its blocks' exponentials, and past the caches in turns of two rows.

The first row of a turn is written and the next one computed, in one loop, so that memory and
arithmetic are busy at the same time.
"""

from __future__ import annotations

from typing import Any

from numba import types

from implementations._numba.exponential import frame, near_scaled, scaled, with_rest
from implementations._numba.logits import FAR, MILD, mild_below
from implementations._numba.long_rows import (
    CLOSE,
    MILDNESS,
    REST,
    SUM,
    WEIGHT,
    bounds_of,
    frame_of_block,
    keep_block,
    numbers_of,
    unread_block,
)
from implementations._numba.row import (
    BLOCK,
    can_be_mild,
    exponentials,
    extremes,
    looks_mild,
    row_scale,
)
from implementations._numba.streamed_rows import (
    go_together,
    rest_of_exponentials,
    rest_of_extremes,
    turns_by,
)
from implementations._simd.compilation import VECTOR_BYTES, inner, internal, specialised
from implementations._simd.line_stores import write_part
from implementations._simd.memory import fence, itemsize, load, load_one, stack, store, store_past
from implementations._simd.vectors import all_less, broadcast

LEAST = 2.0**-20  # a power that keeps the scale of a near block in the normal range

_shared = stack(2 * VECTOR_BYTES)


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
        wide = broadcast(power)  # which may be beyond the range of float32
        return with_rest(scale[2] * wide, scale[3] * wide)

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


@internal
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


@inner
def whole_scale(state, like):  # type: ignore[no-untyped-def]
    """The scale of a row that is merged, for exponentials in its frame."""
    return row_scale(state, load_one(state + SUM, 0.0), load_one(state + REST, 0.0), like)


@inner
def block_way(state, b, whole, like):  # type: ignore[no-untyped-def]
    """(power, scale, close) of block `b` of a row that is merged, from its whole scale."""
    if load_one(state + MILDNESS, 0.0) > 0:
        return 1.0, whole, load_one(state + CLOSE, 0.0) > 0
    power = load_one(numbers_of(state, b) + WEIGHT, 0.0)
    close = load_one(state + CLOSE, 0.0) > 0 and power >= LEAST
    return power, block_scale(whole, power, like), close


@internal
def write(e, y, n, first, last, state, like):  # type: ignore[no-untyped-def]
    """Results of blocks `first` to `last` of the row at `y`, which may be `e`."""
    size, whole = itemsize(like), whole_scale(state, like)
    for b in range(first, last):
        start, count = bounds_of(n, b)
        power, scale, close = block_way(state, b, whole, like)
        results(e + start * size, y + start * size, count, power, scale, close, like)


@inner
def one_result(e, power, scale, close, like):  # type: ignore[no-untyped-def]
    if close:
        return block_result(load(e, like), power, scale, True)
    return block_result(load(e, like), power, scale, False)


@internal
def write_past(x, e, y, n, first, last, state, before, like):  # type: ignore[no-untyped-def]
    """Blocks `first` to `last` of two rows: results of the one kept at `e`, whose numbers are
    `before`, past the caches to `y`; and the one at `x`, unless that is 0, to `e`.

    A vector of the result that two blocks share waits in `shared` for its other part. The one at
    `x` is as `long_rows.compute` has it.
    """
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    shared, whole = _shared(), whole_scale(before, like)
    top = broadcast(like)
    bottom, largest = top, top
    none = frame(top)
    framed, way, guess = none, FAR, can_be_mild(like)
    if x and not guess:
        top, bottom = extremes(x + first * BLOCK * size, bounds_of(n, first)[1], like)
    for b in range(first, last):
        start, count = bounds_of(n, b)
        row, kept, result = x + start * size, e + start * size, y + start * size
        if x and (guess or (can_be_mild(like) and looks_mild(top, bottom))):
            framed, way = none, MILD
        elif x:
            framed, way = frame_of_block(top, bottom, b, False, state, like)
        power, scale, was_close = block_way(before, b, whole, like)
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
        done, following = 0, bounds_of(n, b + 1)[1]
        if size == 4 and x and go_together(way, was_close, b + 1 < last):
            done = min(vectors, min(count, following) // lanes) // 4
            source, line, read = kept + skip, result + skip, row + count * size
            a, b2, largest, top, bottom = turns_by(
                read, row, kept, source, line, done, framed, way, was_close, scale, like
            )
        else:
            largest = broadcast(like)
        turned = done if way != MILD else 0
        done *= 4 * VECTOR_BYTES
        for i in range(skip + done, end, VECTOR_BYTES):
            store_past(result + i, one_result(kept + i, power, scale, was_close, like))
        store(shared, one_result(kept + end, power, scale, was_close, like))
        if b == last - 1:
            write_part(result + end, shared, 0, count * size - end, like)
        if x:
            a, b2, largest = rest_of_exponentials(
                row, kept, done, count, framed, a, b2, largest, way, like
            )
            guess = way == MILD and all_less(largest, mild_below(x, like))
            if guess:
                unread_block(largest, b, state, like)
            elif way == MILD:
                top, bottom = extremes(row, count, like)
                framed, way = frame_of_block(top, bottom, b, False, state, like)
                a, b2, _ = exponentials(row, kept, count, framed, way, True, True, 0, like)
            keep_block(a, b2, b, state)
            if b + 1 < last and not guess:
                read = row + count * size
                if turned:
                    top, bottom = rest_of_extremes(
                        read, 4 * turned * lanes, following, top, bottom, like
                    )
                else:
                    top, bottom = extremes(read, following, like)
    fence()
