"""Softmax of rows of a few vectors, a group of rows at a time.

Step by step for the rows of a group, so that one row's latency is another's work. What is a number
for a row, its frame and the reciprocal of its sum, is computed for all of them at once, a row a
lane.
"""

from __future__ import annotations

from typing import Any

from numba import types

from implementations._numba.exponential import (
    as_like,
    far_lanes,
    frame,
    gather,
    near_scaled,
    scaled,
)
from implementations._numba.logits import (
    FAR,
    MILD,
    NEAR,
    address,
    ends,
    exponential_by,
    extremes_with,
    first_extremes,
    mild_below,
    scale_at,
    small_below,
)
from implementations._numba.row import (
    ask_for_four,
    can_be_mild,
    four_exponentials,
    looks_mild,
)
from implementations._simd.compilation import VECTOR_BYTES, inner, internal, specialised
from implementations._simd.memory import (
    fence,
    itemsize,
    load,
    load_one,
    prefetch,
    stack,
    store,
    store_one,
    store_past,
)
from implementations._simd.vectors import (
    all_less,
    broadcast,
    joined_at,
    larger_size,
    largest_lane,
    smallest_lane,
    sum_lanes,
    zero,
)

SHORT = 1024  # classes below which rows are taken so
_GROUP = 1 << 13  # bytes of a group's rows, at most; a group has no more rows than a vector lanes
_ROOM = _GROUP + VECTOR_BYTES * (VECTOR_BYTES // 4 + 2)
_NUMBERS = 11 * VECTOR_BYTES
_TOGETHER = 128  # classes from which on a row is written beside the exponentials of another

_numbers = stack(2 * _NUMBERS)
_scratch = stack(2 * _ROOM)


@inner
def short_extremes(x, n, like):  # type: ignore[no-untyped-def]
    """Largest and smallest number at a place; NaN may be passed over or not."""
    end = n * itemsize(like) - VECTOR_BYTES
    top, bottom = first_extremes(x + end, like)
    for i in range(0, end, VECTOR_BYTES):
        top, bottom = extremes_with(x + i, top, bottom, like)
    return largest_lane(top), smallest_lane(bottom)


@internal
def short_exponentials(x, e, n, framed, way, ahead, size, like):  # type: ignore[no-untyped-def]
    """Exponentials of a row to `e`; their sum in two vectors, and the largest size so far."""
    a = broadcast(0.0)
    b = a
    end = n * itemsize(like)
    done = 0
    while done + 4 * VECTOR_BYTES <= end:
        p = x + done
        if ahead:
            ask_for_four(p + ahead)
        a, b, size = four_exponentials(p, e + done, framed, a, b, size, way, True, True, like)
        done += 4 * VECTOR_BYTES
    if done == end:
        return a, b, size
    rest = broadcast(like)
    while done + VECTOR_BYTES <= end:
        if ahead:
            prefetch(address(x) + done + ahead)
        v, size = exponential_by(x + done, framed, way, size, like)
        store(e + done, v)
        rest = rest + v
        done += VECTOR_BYTES
    if done < end:
        v, size = exponential_by(x + (end - VECTOR_BYTES), framed, way, size, like)
        store(e + end - VECTOR_BYTES, v)
        rest = rest + joined_at(zero(v), v, (done - end + VECTOR_BYTES) // itemsize(like))
    a, b = gather(a, b, rest)
    return a, b, size


@inner
def result(e, scale, far, like):  # type: ignore[no-untyped-def]
    """A vector of results from one of exponentials."""
    if far:
        return scaled(load(e, like), scale)
    return near_scaled(load(e, like), scale)


@inner
def multiples(e, to, n, scale, far, like):  # type: ignore[no-untyped-def]
    """Exponentials times the scale, to `to`."""
    end = n * itemsize(like) - VECTOR_BYTES
    for i in range(0, end, VECTOR_BYTES):
        store(to + i, result(e + i, scale, far, like))
    store(to + end, result(e + end, scale, far, like))


@inner
def multiples_past(e, to, n, scale, far, waiting, is_first, is_last, like):  # type: ignore[no-untyped-def]
    """The same past the caches, in whole vectors of a stream of rows.

    What a row has beyond its last one waits for the next row: the result. The first row's beginning
    and the last one's end are stored beside what others write.
    """
    size = itemsize(like)
    beyond = to % VECTOR_BYTES
    whole = (n * size + beyond) // VECTOR_BYTES * VECTOR_BYTES
    line, source, start = to - beyond, e - beyond, 0
    if beyond:
        start = VECTOR_BYTES
        v = result(source, scale, far, like)
        if is_first:
            store(to, result(e, scale, far, like))
        else:
            store_past(line, joined_at(waiting, v, beyond // size))
    for i in range(start, whole, VECTOR_BYTES):
        store_past(line + i, result(source + i, scale, far, like))
    if is_last:
        end = n * size - VECTOR_BYTES
        store(to + end, result(e + end, scale, far, like))
    return result(source + whole, scale, far, like)


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


@inner
def framed_exponentials(x, rows, step, count, numbers, e, n, ahead, like):  # type: ignore[no-untyped-def]
    """Exponentials of a group's rows in their frames, to `e`; whether all look mild.

    The sums are kept in `numbers`, and for each row whether it is far.
    """
    size = itemsize(like)
    tops, bottoms, shifts = numbers, numbers + VECTOR_BYTES, numbers + 2 * VECTOR_BYTES
    cutoffs, bases = numbers + 3 * VECTOR_BYTES, numbers + 4 * VECTOR_BYTES
    apart = step + (-step) % VECTOR_BYTES
    store(tops, broadcast(like))
    store(bottoms, broadcast(like))
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
    for i in range(count):
        own = i * size
        framed = (
            broadcast(load_one(shifts + own, like)),
            broadcast(load_one(cutoffs + own, like)),
            broadcast(load_one(bases + own, like)),
        )
        row, kept, none = rows + i * step, e + i * apart, broadcast(like)
        if any_far:
            a, b, _ = short_exponentials(row, kept, n, framed, FAR, ahead, none, like)
        else:
            a, b, _ = short_exponentials(row, kept, n, framed, NEAR, ahead, none, like)
        keep_sum(numbers + 5 * VECTOR_BYTES + 8 * i, a, b, like)
    return can_be_mild(like) and looks_mild(top, bottom)


@inner
def write_row(e, y, r, n, i, numbers, past, waiting, first, last, like):  # type: ignore[no-untyped-def]
    """Results of row `r` of those from `first` to `last`, which is number `i` of its group."""
    to = y + r * n * itemsize(like)
    scale = kept_scale(numbers + 7 * VECTOR_BYTES, i, like)
    far = load_one(numbers + i * itemsize(like), like) > 0
    if past and far:
        return multiples_past(e, to, n, scale, True, waiting, r == first, r == last - 1, like)
    if past:
        return multiples_past(e, to, n, scale, False, waiting, r == first, r == last - 1, like)
    if far:
        multiples(e, to, n, scale, True, like)
    else:
        multiples(e, to, n, scale, False, like)
    return waiting


@internal
def short_rows(x, y, first, last, n, past, like):  # type: ignore[no-untyped-def]
    """Softmax of rows `first` to `last`, of at least as many classes as lanes, below SHORT.

    A group is computed while the one before is written, row by row, so that memory and arithmetic
    are busy at the same time. It is taken for mild where the one before was.
    """
    size = itemsize(like)
    step = n * size
    apart = step + (-step) % VECTOR_BYTES  # bytes between scratch rows
    group = max(1, min(VECTOR_BYTES // size, _GROUP // apart))
    numbers, e = _numbers(), _scratch() + VECTOR_BYTES
    other_numbers, other_e = numbers + _NUMBERS, e + _ROOM
    for place in (numbers, other_numbers):
        store(place + 5 * VECTOR_BYTES, broadcast(1.0))
        store(place + 6 * VECTOR_BYTES, broadcast(1.0))
    nothing, one, limit = broadcast(like), as_like(1.0, like), small_below(x, like)
    none, waiting = frame(nothing), nothing
    guess = can_be_mild(like)
    ahead = step * group if past else 0
    together = n >= _TOGETHER
    pending = 0  # rows of the group before, which are computed
    for r in range(first, last + group, group):
        count = max(0, min(group, last - r))
        rows, before = x + r * step, r - group
        sums, scales = numbers + 5 * VECTOR_BYTES, numbers + 7 * VECTOR_BYTES
        largest, written = nothing, 0
        for i in range(count if guess else 0):
            own = e + i * apart
            a, b, largest_own = short_exponentials(
                rows + i * step, own, n, none, MILD, ahead, nothing, like
            )
            largest = larger_size(largest_own, largest)
            store_one(numbers + i * size, like if all_less(largest_own, limit) else one)
            keep_sum(sums + 8 * i, a, b, like)
            if together and i < pending:
                kept, row, written = other_e + i * apart, before + i, i + 1
                waiting = write_row(
                    kept, y, row, n, i, other_numbers, past, waiting, first, last, like
                )
        for i in range(written, pending):
            kept, row = other_e + i * apart, before + i
            waiting = write_row(kept, y, row, n, i, other_numbers, past, waiting, first, last, like)
        if count:
            if guess:
                guess = all_less(largest, mild_below(x, like))
            if not guess:
                guess = framed_exponentials(x, rows, step, count, numbers, e, n, ahead, like)
            scale = scale_at(x, load(sums, 0.0), load(sums + VECTOR_BYTES, 0.0), like)
            store(scales, scale[0])
            store(scales + VECTOR_BYTES, scale[1])
            store(scales + 2 * VECTOR_BYTES, scale[2])
            store(scales + 3 * VECTOR_BYTES, scale[3])
        pending = count
        numbers, other_numbers = other_numbers, numbers
        e, other_e = other_e, e
    if past:
        fence()
