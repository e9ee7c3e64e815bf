"""A row of a softmax in vectors: of at least as many classes as lanes, at an address.

A row whose largest and smallest logits are near takes a shorter way: nothing to cut off, nothing
subnormal. One of float32 whose logits are all mild, as those of most models are, takes the
shortest: their exponentials as they are, so that nothing has to be known of the row before. It
shows afterwards whether that was right; if not, the row is taken again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from implementations._numba.exponential import (
    far_lanes,
    frame,
    gather,
    gather4,
    mild,
    near_scaled,
    scaled,
    size_of,
    two_sum,
)
from implementations._numba.logits import (
    FAR,
    MILD,
    NEAR,
    address,
    ask_for_mask,
    ends,
    exponential_by,
    extremes_with,
    first_extremes,
    mild_below,
    scale_at,
    small_below,
)
from implementations._simd.compilation import LINE, VECTOR_BYTES, inner, internal, specialised
from implementations._simd.line_stores import finish, flush
from implementations._simd.memory import itemsize, load, prefetch, store, store_one
from implementations._simd.vectors import (
    all_less,
    broadcast,
    joined_at,
    larger,
    largest_lane,
    smaller,
    smallest_lane,
    sum_lanes,
    zero,
)

BLOCK = 2048  # classes of which sums are kept apart
CHUNK = 1024  # classes that pass through the buffer at once
HELD = 4096  # bytes that wait in it: loads right after smaller stores would stall


@inner
def aligned(array):  # type: ignore[no-untyped-def]
    """The first address in a scratch array that is a multiple of LINE."""
    start = np.intp(array.ctypes.data)
    return start + (-start) % LINE


@inner
def room(bytes_needed):  # type: ignore[no-untyped-def]
    """A scratch array of so many bytes from `aligned` on, and five lines to spare."""
    return np.empty(bytes_needed + 6 * LINE, np.uint8)


@inner
def release(array):  # type: ignore[no-untyped-def]
    """A scratch array is no longer used: Numba frees one after the last mention of it, and knows
    nothing of the addresses within."""
    array[0] = 0


@inner
def extremes(x, n, like):  # type: ignore[no-untyped-def]
    """Largest and smallest logit as vectors of one number; NaN may be passed over or not."""
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    a, e = first_extremes(x, like)
    b, c, d = a, a, a
    f, g, h = e, e, e
    whole = n // (4 * lanes) * (4 * lanes)
    for i in range(0, whole, 4 * lanes):
        p = x + size * i
        a, e = extremes_with(p, a, e, like)
        b, f = extremes_with(p + VECTOR_BYTES, b, f, like)
        c, g = extremes_with(p + 2 * VECTOR_BYTES, c, g, like)
        d, h = extremes_with(p + 3 * VECTOR_BYTES, d, h, like)
    for i in range(whole, n - lanes + 1, lanes):
        a, e = extremes_with(x + size * i, a, e, like)
    b, f = extremes_with(x + size * (n - lanes), b, f, like)
    top = largest_lane(larger(larger(a, b), larger(c, d)))
    bottom = smallest_lane(smaller(smaller(e, f), smaller(g, h)))
    return ends(x, broadcast(top), broadcast(bottom))


@inner
def is_near(top, bottom):  # type: ignore[no-untyped-def]
    """Whether a row needs no shift, no cut and no subnormal result; not where any is NaN."""
    return not largest_lane(far_lanes(top, bottom)) > 0


@inner
def four_exponentials(x, e, framed, a, b, size, way, tree, keep, like):  # type: ignore[no-untyped-def]
    """Exponentials of four vectors, stored at `e` if `keep`; their sum added to two vectors.

    `way` is of the row. With `tree`, float32 is added in fours before it is added in float64.
    """
    v0, size = exponential_by(x, framed, way, size, like)
    v1, size = exponential_by(x + VECTOR_BYTES, framed, way, size, like)
    v2, size = exponential_by(x + 2 * VECTOR_BYTES, framed, way, size, like)
    v3, size = exponential_by(x + 3 * VECTOR_BYTES, framed, way, size, like)
    if keep:
        store(e, v0)
        store(e + VECTOR_BYTES, v1)
        store(e + 2 * VECTOR_BYTES, v2)
        store(e + 3 * VECTOR_BYTES, v3)
    if tree:
        a, b = gather4(a, b, v0, v1, v2, v3)
    else:
        a, b = gather(a, b, v0)
        a, b = gather(a, b, v1)
        a, b = gather(a, b, v2)
        a, b = gather(a, b, v3)
    return a, b, size


@inner
def ask_for_four(place):  # type: ignore[no-untyped-def]
    """Ask for the lines of four vectors, and for that of their mask."""
    for j in range(0, 4 * VECTOR_BYTES, LINE):
        prefetch(address(place) + j)
    ask_for_mask(place)


@inner
def fours(x, e, end, framed, way, tree, keep, ahead, like):  # type: ignore[no-untyped-def]
    """`four_exponentials` of `end` bytes; their sum in two vectors, and the largest size."""
    a = broadcast(0.0)
    b = a
    size = broadcast(like)
    for i in range(0, end, 4 * VECTOR_BYTES):
        if ahead:
            ask_for_four(x + (i + ahead))
        a, b, size = four_exponentials(x + i, e + i, framed, a, b, size, way, tree, keep, like)
    return a, b, size


@internal
def exponentials(x, e, n, framed, way, tree, keep, ahead, like):  # type: ignore[no-untyped-def]
    """Exponentials of `n` entries to `e` if `keep`; their sum in two vectors, and the largest size.

    Meanwhile what lies `ahead` bytes further is asked for; 0 for nothing.
    """
    lanes = VECTOR_BYTES // itemsize(like)
    done = n // (4 * lanes) * (4 * lanes)
    end = done * itemsize(like)
    if way == MILD:
        a, b, size = fours(x, e, end, framed, MILD, tree, keep, ahead, like)
        return last_exponentials(x, e, done, n, framed, a, b, size, MILD, keep, like)
    if way == NEAR:
        a, b, size = fours(x, e, end, framed, NEAR, tree, keep, ahead, like)
    else:
        a, b, size = fours(x, e, end, framed, FAR, tree, keep, ahead, like)
    return last_exponentials(x, e, done, n, framed, a, b, size, FAR, keep, like)


@inner
def last_exponentials(x, e, done, n, framed, a, b, size, way, keep, like):  # type: ignore[no-untyped-def]
    """Those from number `done` on, fewer than four vectors, the last overlapping the one before."""
    item = itemsize(like)
    lanes = VECTOR_BYTES // item
    while done < n:
        i = min(done, n - lanes)
        v, size = exponential_by(x + item * i, framed, way, size, like)
        if keep:
            store(e + item * i, v)
        a, b = gather(a, b, joined_at(zero(v), v, done - i))
        done += lanes
    return a, b, size


def can_be_mild(like: Any) -> bool:
    """Whether rows of the format may be taken without a frame: sums of float64 need one."""
    raise NotImplementedError("only within Numba")


@specialised(can_be_mild)
def _can_be_mild(like):  # type: ignore[no-untyped-def]
    found = like == types.float32
    return lambda like: found


@inner
def looks_mild(top, bottom):  # type: ignore[no-untyped-def]
    """Whether logits between vectors of extremes are mild."""
    return all_less(size_of(top, bottom), mild(top))


@inner
def sum_of(a, b, total, rest):  # type: ignore[no-untyped-def]
    """(total, rest) plus what two vectors hold."""
    total, rest = two_sum(total, rest, sum_lanes(a))
    return two_sum(total, rest, sum_lanes(b))


@inner
def tree_sum(a, b):  # type: ignore[no-untyped-def]
    """`sum_of` where float32 roundings outweigh the rest: fewer steps one after the other."""
    return sum_lanes(a + b), 0.0


@inner
def row_exponentials(x, e, n, framed, way, tree, ahead, like):  # type: ignore[no-untyped-def]
    """`exponentials` of a whole row, block by block; the sum as two numbers."""
    size = itemsize(like)
    if size == 4:  # summed in float64, it needs no blocks
        a, b, _ = exponentials(x, e, n, framed, way, tree, True, ahead, like)
        if tree:
            return tree_sum(a, b)
        return sum_of(a, b, 0.0, 0.0)
    total, rest = 0.0, 0.0
    start = 0
    while start < n:
        count = BLOCK if n - start >= BLOCK + VECTOR_BYTES // size else n - start
        x_block, e_block = x + size * start, e + size * start
        a, b, _ = exponentials(x_block, e_block, count, framed, way, tree, True, ahead, like)
        total, rest = sum_of(a, b, total, rest)
        start += count
    return two_sum(total, 0.0, rest)


@internal
def multiples(e, to, n, scale, close, like):  # type: ignore[no-untyped-def]
    """Scratch entries times the scale, to `to`."""
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    if close:
        for i in range(0, n - lanes + 1, lanes):
            store(to + size * i, near_scaled(load(e + size * i, like), scale))
        store(to + size * (n - lanes), near_scaled(load(e + size * (n - lanes), like), scale))
    else:
        for i in range(0, n - lanes + 1, lanes):
            store(to + size * i, scaled(load(e + size * i, like), scale))
        store(to + size * (n - lanes), scaled(load(e + size * (n - lanes), like), scale))


@internal
def rows_through_scratch(x, y, first, last, n, past, sums, like):  # type: ignore[no-untyped-def]
    """Softmax of rows `first` to `last`, each through a scratch row.

    A row is taken for mild where the one before was.

    `sums`, if not 0, is where three float64 of each row go: the largest entry, and the sum of the
    exponentials in its frame as (total, rest), free of float32 roundings.
    """
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    scratch, buffer = room(n * size), room((CHUNK + 2 * lanes) * size + HELD + LINE)
    e, staging = aligned(scratch), aligned(buffer)
    to = y + first * n * size
    foreign = to % LINE
    to -= foreign
    held = foreign
    may = can_be_mild(like) and sums == 0
    guess, close, total, rest = may, False, 0.0, 0.0
    none = frame(broadcast(like))
    for r in range(first, last):
        row = x + r * n * size
        ahead = n * size if past and r + 1 < last else 0
        if guess:
            a, b, largest = exponentials(row, e, n, none, MILD, True, True, ahead, like)
            guess = all_less(largest, mild_below(x, like))
            close = all_less(largest, small_below(x, like))
            total, rest = tree_sum(a, b)
        if not guess:
            top, bottom = extremes(row, n, like)
            close = is_near(top, bottom)
            way = NEAR if close else FAR
            total, rest = row_exponentials(row, e, n, frame(top), way, sums == 0, ahead, like)
            if sums:
                keep_sums(sums + 24 * r, largest_lane(top), total, rest)
            guess = may and looks_mild(top, bottom)
        scale = row_scale(row, total, rest, like)
        start = 0
        while start < n:
            count = n - start
            if past and count >= CHUNK + lanes:
                count = CHUNK
            result = staging + held if past else y + (r * n + start) * size
            multiples(e + start * size, result, count, scale, close, like)
            start += count
            if past:
                held += count * size
                if held >= HELD:
                    to, held, foreign = flush(to, staging, held, foreign, True, like)
    if past:
        finish(to, staging, held, foreign, True, like)
    release(scratch)
    release(buffer)


@inner
def keep_sums(place, top, total, rest):  # type: ignore[no-untyped-def]
    store_one(place, np.float64(top))
    store_one(place + 8, total)
    store_one(place + 16, rest)


@inner
def row_scale(x, total, rest, like):  # type: ignore[no-untyped-def]
    a, b = halves(total, rest, like)
    return scale_at(x, a, b, like)


@inner
def halves(total, rest, like):  # type: ignore[no-untyped-def]
    """A row's sum as `scale_of` wants it: float32 has it twice, float64 as a sum of two."""
    if itemsize(like) == 8:
        return broadcast(total), broadcast(rest)
    return broadcast(total + rest), broadcast(total + rest)
