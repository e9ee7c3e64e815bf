"""Softmax of few classes: as many rows as a vector has lanes, a row a lane.

Transposed in registers, so that there are neither horizontal steps nor remainders.
"""

from __future__ import annotations

from implementations._numba.exponential import (
    far_by_size,
    far_lanes,
    frame,
    gather,
    near_scaled,
    scaled,
    unit,
)
from implementations._numba.logits import (
    FAR,
    MILD,
    NEAR,
    address,
    copied,
    ends,
    exponential_by,
    has_masked,
    logits,
    mask_of,
    mild_below,
    number,
    scale_at,
    small_below,
    unmasked,
)
from implementations._numba.row import (
    HELD,
    aligned,
    ask_for_four,
    can_be_mild,
    four_exponentials,
    looks_mild,
    release,
    room,
)
from implementations._simd.compilation import LINE, VECTOR_BYTES, inner, internal
from implementations._simd.line_stores import finish, flush
from implementations._simd.memory import itemsize, load, prefetch, store, store_one
from implementations._simd.transpose import (
    HALF,
    QUARTER,
    to_columns,
    to_columns_half,
    to_columns_quarter,
    to_rows,
    to_rows_half,
    to_rows_quarter,
)
from implementations._simd.vectors import (
    all_less,
    broadcast,
    larger,
    larger_size,
    largest_lane,
    smaller,
    where_less,
    zero,
)

FEW = 47  # classes up to which a row is a lane
SQUARES = 8  # of rows at a time, at most


@internal
def columns_of(x, n, columns, like):  # type: ignore[no-untyped-def]
    """The columns of as many rows of `n` classes as lanes, a vector each; -inf where masked."""
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    step = n * size
    whole = n // lanes * lanes
    for c in range(0, whole, lanes):
        p = x + c * size
        to_columns(address(p), mask_of(p), step, columns + c * VECTOR_BYTES, like)
    left, p, columns = n - whole, x + whole * size, columns + whole * VECTOR_BYTES
    if left == 0:
        return
    if left * QUARTER <= lanes:
        to_columns_quarter(address(p), mask_of(p), step, columns, like)
    elif left * HALF <= lanes:
        to_columns_half(address(p), mask_of(p), step, columns, like)
    else:
        to_columns(address(p), mask_of(p), step, columns, like)


@inner
def rows_of(columns, rows, n, like):  # type: ignore[no-untyped-def]
    """The way back; writes up to a vector beyond the last row. The last columns first, since
    what they spill is of the next row's first ones."""
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    step = n * size
    whole = n // lanes * lanes
    left = n - whole
    if left:
        place, vectors = rows + whole * size, columns + whole * VECTOR_BYTES
        if left * QUARTER <= lanes:
            to_rows_quarter(vectors, place, step, like)
        elif left * HALF <= lanes:
            to_rows_half(vectors, place, step, like)
        else:
            to_rows(vectors, place, step, like)
    for c in range(0, whole, lanes):
        to_rows(columns + c * VECTOR_BYTES, rows + c * size, step, like)


@inner
def copy_numbers(source, target, count, like):  # type: ignore[no-untyped-def]
    """`count` numbers, and nothing beyond."""
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    whole = count // lanes * lanes
    for i in range(0, whole, lanes):
        store(target + i * size, logits(source + i * size, like))
    for i in range(whole, count):
        store_one(target + i * size, number(source + i * size, like))


@inner
def lane_exponentials(columns, n, framed, way, size, ask, ahead, like):  # type: ignore[no-untyped-def]
    """Exponentials in place, a row a lane; the sum lane by lane, in two vectors, and the largest
    size so far.

    Meanwhile as much memory at `ahead` is asked for, if `ask`.
    """
    a = broadcast(0.0)
    b = a
    whole = n // 4 * 4
    for c in range(0, whole, 4):
        p = columns + c * VECTOR_BYTES
        if ask:
            ask_for_four(ahead + c * VECTOR_BYTES)
        q = address(p)
        a, b, size = four_exponentials(p, q, framed, a, b, size, way, True, True, like)
    for c in range(whole, n):
        p = columns + c * VECTOR_BYTES
        if ask:
            prefetch(address(ahead) + c * VECTOR_BYTES)
        v, size = exponential_by(p, framed, way, size, like)
        store(address(p), v)
        a, b = gather(a, b, v)
    return a, b, size


@inner
def lane_extremes(x, columns, n, like):  # type: ignore[no-untyped-def]
    """Largest and smallest entry of each lane, as `ends` has them."""
    a = load(columns, like)
    c = unmasked(x, a)
    b, d = a, c
    odd = n % 2
    for i in range(odd, n, 2):
        p = columns + i * VECTOR_BYTES
        v, w = load(p, like), load(p + VECTOR_BYTES, like)
        a, b = larger(v, a), larger(w, b)
        c, d = smaller(unmasked(x, v), c), smaller(unmasked(x, w), d)
    return ends(x, larger(a, b), smaller(c, d))


@internal
def mild_lanes(x, columns, n, groups, frames, scales, past, ahead, like):  # type: ignore[no-untyped-def]
    """Exponentials of squares in place as mild ones, and their scales.

    Whether all rows are near, and whether all are mild.
    """
    square, four, none = n * VECTOR_BYTES, 4 * VECTOR_BYTES, frame(broadcast(like))
    nothing = broadcast(like)
    largest, limit = nothing, small_below(x, like)
    for g in range(groups):
        own, p = copied(x, columns + g * square), ahead + g * square
        a, b, size = lane_exponentials(own, n, none, MILD, nothing, past, p, like)
        keep_scale(scales + g * four, scale_at(x, a, b, like))
        keep_four(frames + g * four, none, far_by_size(size, limit))
        largest = larger_size(size, largest)
    return all_less(largest, limit), all_less(largest, mild_below(x, like))


@internal
def framed_lanes(x, columns, n, groups, frames, scales, past, ahead, like):  # type: ignore[no-untyped-def]
    """The same in frames; whether all rows are near, and whether all look mild."""
    square, four, none = n * VECTOR_BYTES, 4 * VECTOR_BYTES, broadcast(like)
    any_far, mild = zero(none), can_be_mild(like)
    for g in range(groups):
        top, bottom = lane_extremes(x, columns + g * square, n, like)
        far = far_lanes(top, bottom)
        any_far = larger(any_far, far)
        mild = mild and looks_mild(top, bottom)
        keep_four(frames + g * four, frame(top), far)
    close = not largest_lane(any_far) > 0
    for g in range(groups):
        framed, _ = kept_four(frames + g * four, like)
        own, p = copied(x, columns + g * square), ahead + g * square
        if close and not has_masked(x):
            a, b, _ = lane_exponentials(own, n, framed, NEAR, none, past, p, like)
        else:
            a, b, _ = lane_exponentials(own, n, framed, FAR, none, past, p, like)
        keep_scale(scales + g * four, scale_at(x, a, b, like))
    return close, mild


@internal
def rows_in_lanes(x, y, first, last, rows, n, past, like):  # type: ignore[no-untyped-def]
    """Softmax of rows `first` to `last` of `rows`, a row a lane.

    Several squares of rows at once, step by step, so that one's latency is another's work. They are
    taken for mild where the ones before were.
    """
    size = itemsize(like)
    lanes = VECTOR_BYTES // size
    squares = max(1, min(SQUARES, FEW // 2 // n))
    block = lanes * n * size
    # One array for all: allocations take long beside a single row.
    scratch = room((squares * n + lanes + 8 * SQUARES) * VECTOR_BYTES + squares * block + HELD)
    frames = aligned(scratch)
    scales = frames + 4 * SQUARES * VECTOR_BYTES
    columns = scales + 4 * SQUARES * VECTOR_BYTES
    staging = columns + (squares * n + lanes) * VECTOR_BYTES
    staging += -staging % LINE
    square, four = n * VECTOR_BYTES, 4 * VECTOR_BYTES
    to = y + first * n * size
    foreign = to % LINE
    to -= foreign
    held = foreign
    may = can_be_mild(like) and not has_masked(x)
    guess = may
    for r in range(first, last, lanes * squares):
        groups = min(squares, (last - r + lanes - 1) // lanes)
        count = min(lanes * groups, last - r)
        source = x + r * n * size
        padded = 0
        if (rows - r - lanes * groups) * n < lanes:  # a vector would reach beyond the array
            padded = staging + held
            copy_numbers(source, padded, count * n, like)
            for i in range(count * n, lanes * groups * n):
                store_one(padded + i * size, like)
            squares_of(padded, n, groups, columns, like)
        else:
            squares_of(source, n, groups, columns, like)
        ahead = source + lanes * squares * n * size
        if guess:
            close, guess = mild_lanes(x, columns, n, groups, frames, scales, past, ahead, like)
            if not guess and padded:
                squares_of(padded, n, groups, columns, like)
            elif not guess:
                squares_of(source, n, groups, columns, like)
        if not guess:
            close, guess = framed_lanes(x, columns, n, groups, frames, scales, past, ahead, like)
            guess = guess and may
        for g in range(groups):
            _, far = kept_four(frames + g * four, like)
            scale = kept_scale(scales + g * four, like)
            place = columns + g * square
            one = unit(far)
            if close:
                for c in range(place, place + square, VECTOR_BYTES):
                    store(c, near_scaled(load(c, like), scale))
            else:
                for c in range(place, place + square, VECTOR_BYTES):
                    v = load(c, like)
                    store(c, where_less(far, one, near_scaled(v, scale), scaled(v, scale)))
        for g in range(groups):
            rows_of(columns + g * square, staging + held + g * block, n, like)
        held += count * n * size
        if held >= HELD:
            to, held, foreign = flush(to, staging, held, foreign, past, like)
    finish(to, staging, held, foreign, past, like)
    release(scratch)


@internal
def squares_of(rows, n, groups, columns, like):  # type: ignore[no-untyped-def]
    """`columns_of` groups of rows that follow one another."""
    square = n * VECTOR_BYTES
    for g in range(groups):
        columns_of(rows + g * square, n, columns + g * square, like)


@inner
def keep_scale(place, scale):  # type: ignore[no-untyped-def]
    keep_four(place, (scale[0], scale[1], scale[2]), scale[3])


@inner
def keep_four(place, three, fourth):  # type: ignore[no-untyped-def]
    """Four vectors to memory."""
    store(place, three[0])
    store(place + VECTOR_BYTES, three[1])
    store(place + 2 * VECTOR_BYTES, three[2])
    store(place + 3 * VECTOR_BYTES, fourth)


@inner
def kept_four(place, like):  # type: ignore[no-untyped-def]
    """A frame and a fourth vector, from `keep_four`."""
    three = (
        load(place, like),
        load(place + VECTOR_BYTES, like),
        load(place + 2 * VECTOR_BYTES, like),
    )
    return three, load(place + 3 * VECTOR_BYTES, like)


@inner
def kept_scale(place, like):  # type: ignore[no-untyped-def]
    """A scale, from `keep_four`."""
    return (
        load(place, like),
        load(place + VECTOR_BYTES, like),
        load(place + 2 * VECTOR_BYTES, 0.0),
        load(place + 3 * VECTOR_BYTES, 0.0),
    )
