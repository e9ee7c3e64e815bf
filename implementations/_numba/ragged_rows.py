"""Softmax of rows of unlike lengths: each by the kernel of its number of classes, to its bits.

Rows of few classes are put in the order of their lengths, some thousand at a time, in memory that
stays in the caches: those of one length are then a row a lane. The threads divide entries and rows,
not rows alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from implementations._numba.row import aligned, release, room
from implementations._numba.rows_in_lanes import FEW
from implementations._numba.short_rows import SHORT
from implementations._numba.single_rows import copy_row
from implementations._numba.softmax import LONG, WHOLE
from implementations._simd.compilation import VECTOR_BYTES, compiled, inner, internal
from implementations._simd.launch import address_of, call_kernel, rows_at
from implementations._simd.memory import itemsize, load, store

OVERHEAD = 16  # entries that take as long as what a row costs beside its entries
_ROWS, _ENTRIES = 1 << 12, 1 << 14  # rows that are put in order at a time, and entries of theirs
_LIKE = np.int64(0)


@compiled
def longest_row(place, rows, entries):  # type: ignore[no-untyped-def]
    """The length of the longest row; -1 where the offsets at an address are none of `entries`."""
    offsets = rows_at(place, 1, rows + 1, _LIKE)[0]
    if offsets[0] != 0 or offsets[rows] != entries:
        return -1
    most, descends = 0, False
    for r in range(rows):
        most = max(most, offsets[r + 1] - offsets[r])
        descends |= offsets[r + 1] < offsets[r]
    return -1 if descends else most


@inner
def share_begin(offsets, rows, part, parts):  # type: ignore[no-untyped-def]
    """The first row of a part's share, which begins where the ones before have done theirs."""
    due = (offsets[rows] - offsets[0] + OVERHEAD * rows) * part // parts
    low, high = 0, rows
    while low < high:
        middle = (low + high) // 2
        if offsets[middle] - offsets[0] + OVERHEAD * middle < due:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def rows_alike(x, y, r, last, offsets, kernels, past, like):  # type: ignore[no-untyped-def]
    """Softmax of row `r` and of those after it that are as long; the row after them."""
    start, first, n = offsets[r], r, offsets[r + 1] - offsets[r]
    while r < last and offsets[r + 1] - offsets[r] == n:
        r += 1
    if n:
        place, count = start * itemsize(like), r - first
        way = (n > FEW) + (n >= SHORT) + (n >= LONG)
        beyond = past if count > 1 and count * n >= LONG else 0  # few end in waiting for stores
        call_kernel(kernels[way], (WHOLE, x + place, y + place, count, n, beyond, 0, 0, 1))
    return r


@inner
def copied(source, target, n, limit, place, like):  # type: ignore[no-untyped-def]
    """A row of few classes from one place to another, in whole vectors if `place` has them.

    That is: what they have beyond the row is before `limit`. How many vectors it takes a processor
    can foretell, how many numbers it cannot.
    """
    whole = n * itemsize(like)
    whole += -whole % VECTOR_BYTES
    if place + whole <= limit:
        for i in range(0, whole, VECTOR_BYTES):
            store(target + i, load(source + i, like))
    else:
        copy_row(source, target, n, like)


@inner
def begins_of(begins, counts, e, like):  # type: ignore[no-untyped-def]
    """Where the rows of each length begin: a vector apart, so that none spills into the next."""
    for n in range(FEW + 1):
        begins[n] = e
        e += counts[n] * n * itemsize(like) + VECTOR_BYTES


@internal
def few_in_order(x, y, first, last, offsets, counts, e, kernel, like):  # type: ignore[no-untyped-def]
    """Rows of few classes from `first` to `last`, by way of their order at `e`.

    `counts` has, for each length, how many they are, and becomes 0. Before longer rows between them
    are computed: their results would be spilt on.
    """
    size = itemsize(like)
    begins = np.empty(FEW + 1, np.int64)
    begins_of(begins, counts, e, like)
    read = x + offsets[offsets.size - 1] * size
    written = y + offsets[last] * size if x != y else 0
    for r in range(first, last):
        n, place = offsets[r + 1] - offsets[r], x + offsets[r] * size
        if 0 < n <= FEW:
            copied(place, begins[n], n, read, place, like)
            begins[n] += n * size
    begins_of(begins, counts, e, like)
    for n in range(1, FEW + 1):
        if counts[n]:
            call_kernel(kernel, (WHOLE, begins[n], begins[n], counts[n], n, 0, 0, 0, 1))
    for r in range(first, last):
        n, place = offsets[r + 1] - offsets[r], y + offsets[r] * size
        if 0 < n <= FEW:
            copied(begins[n], place, n, written, place, like)
            begins[n] += n * size
    counts[:] = 0


@inner
def ragged_rows(x, y, rows, past, state, part, parts, like):  # type: ignore[no-untyped-def]
    """A part of the softmax of rows.

    `past` is whether results of many rows of one length go past the caches. `state` is where the
    address of their offsets is, and those of the kernels by their way.
    """
    table = rows_at(state, 1, 5, _LIKE)[0]
    offsets, kernels = rows_at(table[0], 1, rows + 1, _LIKE)[0], table[1:]
    r = share_begin(offsets, rows, part, parts)
    last = share_begin(offsets, rows, part + 1, parts)
    scratch = room((_ENTRIES + FEW) * itemsize(like) + (FEW + 2) * VECTOR_BYTES)
    e, counts = aligned(scratch), np.zeros(FEW + 1, np.int64)
    while r < last:
        first, entries, longer, end = r, 0, 0, min(last, r + _ROWS)
        while r < end and entries < _ENTRIES:
            n = offsets[r + 1] - offsets[r]
            if n > FEW:
                longer += 1
            else:
                counts[n] += 1
                entries += n
            r += 1
        n = offsets[first + 1] - offsets[first]
        alike = n <= FEW and counts[n] == r - first
        if alike:
            counts[n] = 0
        elif longer < r - first:
            few_in_order(x, y, first, r, offsets, counts, e, kernels[0], like)
        while first < r and (alike or longer):
            if alike or offsets[first + 1] - offsets[first] > FEW:
                first = rows_alike(x, y, first, r, offsets, kernels, past, like)
            else:
                first += 1
    release(scratch)


def _kernel(like: Any) -> Callable[..., None]:
    def ragged(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
        ragged_rows(x, y, rows, past, state, part, parts, like)

    return ragged


@cache
def kernel(dtype: np.dtype[Any]) -> int:
    """The address of the kernel for a working precision."""
    made = _kernel(dtype.type(0))
    made.__qualname__ = f"ragged_{dtype.name}"  # by which its code is found in the cache
    return address_of(made)
