"""Softmax of few rows of few classes, one by one: less work than a square of rows in lanes.

To the bit what `rows_in_lanes` gives: the sum is taken in its order, number by number.
"""

from __future__ import annotations

from implementations._numba.exponential import (
    far_lanes,
    frame,
    gather,
    gather4,
    near_scaled,
    scaled,
)
from implementations._numba.logits import copied, ends, exponential_at, logits, number, scale_at
from implementations._numba.short_rows import short_extremes
from implementations._simd.compilation import VECTOR_BYTES, inner, internal
from implementations._simd.memory import itemsize, load, load_one, stack, store, store_one
from implementations._simd.vectors import broadcast, largest_lane

LONE = 6  # rows up to which they are taken so

_scratch = stack(1024)


@inner
def copy_row(source, target, n, like):  # type: ignore[no-untyped-def]
    """`n` numbers, and nothing beyond; in whole vectors if there is one."""
    size = itemsize(like)
    end = n * size - VECTOR_BYTES
    if end < 0:
        for i in range(0, n * size, size):
            store_one(target + i, number(source + i, like))
        return
    for i in range(0, end, VECTOR_BYTES):
        store(target + i, logits(source + i, like))
    store(target + end, logits(source + end, like))


@inner
def spread(place, like):  # type: ignore[no-untyped-def]
    return broadcast(load_one(place, like))


@inner
def sum_by_number(e, n, like):  # type: ignore[no-untyped-def]
    """The sum of `n` entries in all lanes of two vectors, in the order of a row in a lane."""
    size = itemsize(like)
    a = broadcast(0.0)
    b = a
    fours = n // 4 * 4 * size
    for p in range(e, e + fours, 4 * size):
        v0, v1 = spread(p, like), spread(p + size, like)
        v2, v3 = spread(p + 2 * size, like), spread(p + 3 * size, like)
        a, b = gather4(a, b, v0, v1, v2, v3)
    for p in range(e + fours, e + n * size, size):
        a, b = gather(a, b, spread(p, like))
    return a, b


@internal
def lone_rows(x, y, first, last, n, like):  # type: ignore[no-untyped-def]
    """Softmax of rows `first` to `last`, of at most FEW classes."""
    step = n * itemsize(like)
    end = step + (-step) % VECTOR_BYTES
    e = _scratch()
    for r in range(first, last):
        row = x + r * step
        store(e + end - VECTOR_BYTES, broadcast(number(row, like)))
        copy_row(row, e, n, like)
        top, bottom = short_extremes(e, end // itemsize(like), like)
        top, bottom = ends(x, broadcast(top), broadcast(bottom))
        framed = frame(top)
        far = largest_lane(far_lanes(top, bottom)) > 0
        for p in range(e, e + end, VECTOR_BYTES):
            store(p, exponential_at(copied(x, p), framed, False, like))
        a, b = sum_by_number(e, n, like)
        scale = scale_at(x, a, b, like)
        for p in range(e, e + end, VECTOR_BYTES):
            v = load(p, like)
            store(p, scaled(v, scale) if far else near_scaled(v, scale))
        copy_row(e, y + r * step, n, like)
