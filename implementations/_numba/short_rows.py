"""Softmax of rows of a few vectors, a group of rows at a time.

Step by step for the rows of a group, so that one row's latency is another's work. What is a number
for a row, its frame and the reciprocal of its sum, is computed for all of them at once, a row a
lane.
"""

from __future__ import annotations

from typing import Any

from numba import types

from implementations._numba.exponential import (
    far_lanes,
    frame,
    gather,
    gather4,
    near_scaled,
    scaled,
)
from implementations._numba.logits import (
    address,
    ends,
    exponential_at,
    extremes_with,
    first_extremes,
    scale_at,
)
from implementations._numba.row import HELD, ask_for_four
from implementations._simd.compilation import LINE, VECTOR_BYTES, inner, internal, specialised
from implementations._simd.line_stores import finish, flush
from implementations._simd.memory import itemsize, load, load_one, prefetch, stack, store, store_one
from implementations._simd.vectors import (
    broadcast,
    joined_at,
    largest_lane,
    smallest_lane,
    sum_lanes,
    zero,
)

SHORT = 256  # classes below which rows are taken so
GROUP = VECTOR_BYTES // 4  # rows of a group, at most
_ROW = 4 * SHORT + VECTOR_BYTES  # bytes of one row, of float32; of float64 groups are half

_numbers = stack(11 * VECTOR_BYTES)
_scratch = stack(GROUP * _ROW)
_staging = stack(GROUP * _ROW + HELD + LINE)


@inner
def short_extremes(x, n, like):  # type: ignore[no-untyped-def]
    """Largest and smallest number at a place; NaN may be passed over or not."""
    end = n * itemsize(like) - VECTOR_BYTES
    top, bottom = first_extremes(x + end, like)
    for i in range(0, end, VECTOR_BYTES):
        top, bottom = extremes_with(x + i, top, bottom, like)
    return largest_lane(top), smallest_lane(bottom)


@internal
def short_exponentials(x, e, n, framed, close, ahead, like):  # type: ignore[no-untyped-def]
    """Exponentials of a row to `e`, and their sum in two vectors."""
    size = itemsize(like)
    a = broadcast(0.0)
    b = a
    end = n * size
    done = 0
    while done + 4 * VECTOR_BYTES <= end:
        p, q = x + done, e + done
        if ahead:
            ask_for_four(p + ahead)
        v0 = exponential_at(p, framed, close, like)
        v1 = exponential_at(p + VECTOR_BYTES, framed, close, like)
        v2 = exponential_at(p + 2 * VECTOR_BYTES, framed, close, like)
        v3 = exponential_at(p + 3 * VECTOR_BYTES, framed, close, like)
        store(q, v0)
        store(q + VECTOR_BYTES, v1)
        store(q + 2 * VECTOR_BYTES, v2)
        store(q + 3 * VECTOR_BYTES, v3)
        a, b = gather4(a, b, v0, v1, v2, v3)
        done += 4 * VECTOR_BYTES
    if done == end:
        return a, b
    rest = broadcast(like)
    while done + VECTOR_BYTES <= end:
        if ahead:
            prefetch(address(x) + done + ahead)
        v = exponential_at(x + done, framed, close, like)
        store(e + done, v)
        rest = rest + v
        done += VECTOR_BYTES
    if done < end:
        v = exponential_at(x + (end - VECTOR_BYTES), framed, close, like)
        store(e + end - VECTOR_BYTES, v)
        rest = rest + joined_at(zero(v), v, (done - end + VECTOR_BYTES) // size)
    return gather(a, b, rest)


@inner
def short_multiples(e, to, n, scale, far, like):  # type: ignore[no-untyped-def]
    """Exponentials times the scale, to `to`."""
    end = n * itemsize(like) - VECTOR_BYTES
    if far:
        for i in range(0, end, VECTOR_BYTES):
            store(to + i, scaled(load(e + i, like), scale))
        store(to + end, scaled(load(e + end, like), scale))
    else:
        for i in range(0, end, VECTOR_BYTES):
            store(to + i, near_scaled(load(e + i, like), scale))
        store(to + end, near_scaled(load(e + end, like), scale))


def keep_sum(place: int, a: Any, b: Any, like: Any) -> None:
    """A row's sum to where `scale_of` of a group finds it."""
    raise NotImplementedError("only within Numba")


@specialised(keep_sum)
def _keep_sum(place, a, b, like):  # type: ignore[no-untyped-def]
    def single(place, a, b, like):  # type: ignore[no-untyped-def]
        store_one(place, sum_lanes(a + b))

    def double(place, a, b, like):  # type: ignore[no-untyped-def]
        store_one(place, sum_lanes(a))
        store_one(place + VECTOR_BYTES, sum_lanes(b))

    return single if like == types.float32 else double


def kept_scale(place: int, r: int, like: Any) -> Any:
    """The scale of row `r` of a group, from the group's at `place`."""
    raise NotImplementedError("only within Numba")


@specialised(kept_scale)
def _kept_scale(place, r, like):  # type: ignore[no-untyped-def]
    def single(place, r, like):  # type: ignore[no-untyped-def]
        p = place + 4 * r
        wide = broadcast(load_one(place + 2 * VECTOR_BYTES + 8 * r, 0.0))
        head, tail = load_one(p, like), load_one(p + VECTOR_BYTES, like)
        return broadcast(head), broadcast(tail), wide, wide

    def double(place, r, like):  # type: ignore[no-untyped-def]
        p = place + 8 * r
        return (
            broadcast(load_one(p, like)),
            broadcast(load_one(p + VECTOR_BYTES, like)),
            broadcast(load_one(p + 2 * VECTOR_BYTES, like)),
            broadcast(load_one(p + 3 * VECTOR_BYTES, like)),
        )

    return single if like == types.float32 else double


@internal
def short_rows(x, y, first, last, n, past, like):  # type: ignore[no-untyped-def]
    """Softmax of rows `first` to `last`, of at least as many classes as lanes, below SHORT."""
    size = itemsize(like)
    step = n * size
    apart = step + (-step) % VECTOR_BYTES  # bytes between scratch rows
    group = VECTOR_BYTES // size
    numbers, scratch, staging = _numbers(), _scratch(), _staging()
    tops, bottoms, shifts = numbers, numbers + VECTOR_BYTES, numbers + 2 * VECTOR_BYTES
    cutoffs, bases = numbers + 3 * VECTOR_BYTES, numbers + 4 * VECTOR_BYTES
    sums, scales = numbers + 5 * VECTOR_BYTES, numbers + 7 * VECTOR_BYTES
    store(tops, broadcast(like))
    store(bottoms, broadcast(like))
    store(sums, broadcast(1.0))
    store(sums + VECTOR_BYTES, broadcast(1.0))
    to = y + first * step
    foreign = to % LINE
    to -= foreign
    held = foreign
    for r in range(first, last, group):
        count = min(group, last - r)
        rows = x + r * step
        for i in range(count):
            top, bottom = short_extremes(rows + i * step, n, like)
            store_one(tops + i * size, top)
            store_one(bottoms + i * size, bottom)
        top, bottom = ends(x, load(tops, like), load(bottoms, like))
        shift, cutoff, base = frame(top)
        store(shifts, shift)
        store(cutoffs, cutoff)
        store(bases, base)
        far = far_lanes(top, bottom)
        store(tops, far)
        any_far = largest_lane(far) > 0
        ahead = step * group if past else 0
        for i in range(count):
            own = i * size
            framed = (
                broadcast(load_one(shifts + own, like)),
                broadcast(load_one(cutoffs + own, like)),
                broadcast(load_one(bases + own, like)),
            )
            row, e = rows + i * step, scratch + i * apart
            if any_far:
                a, b = short_exponentials(row, e, n, framed, False, ahead, like)
            else:
                a, b = short_exponentials(row, e, n, framed, True, ahead, like)
            keep_sum(sums + 8 * i, a, b, like)
        scale = scale_at(x, load(sums, 0.0), load(sums + VECTOR_BYTES, 0.0), like)
        store(scales, scale[0])
        store(scales + VECTOR_BYTES, scale[1])
        store(scales + 2 * VECTOR_BYTES, scale[2])
        store(scales + 3 * VECTOR_BYTES, scale[3])
        result = staging + held if past else y + r * step
        for i in range(count):
            scale = kept_scale(scales, i, like)
            is_far = load_one(tops + i * size, like) > 0
            short_multiples(scratch + i * apart, result + i * step, n, scale, is_far, like)
        if past:
            held += count * step
            if held >= HELD:
                to, held, foreign = flush(to, staging, held, foreign, True, like)
    if past:
        finish(to, staging, held, foreign, True, like)
