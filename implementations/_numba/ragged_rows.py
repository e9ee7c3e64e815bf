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
from implementations._simd.compilation import compiled, inner, internal
from implementations._simd.launch import address_of, call_kernel, rows_at
from implementations._simd.memory import itemsize

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
def rows_alike(x, y, r, last, offsets, kernels, like):  # type: ignore[no-untyped-def]
    """Softmax of row `r` and of those after it that are as long; the row after them."""
    start, first, n = offsets[r], r, offsets[r + 1] - offsets[r]
    while r < last and offsets[r + 1] - offsets[r] == n:
        r += 1
    place = start * itemsize(like)
    way = (n > FEW) + (n >= SHORT) + (n >= LONG)
    call_kernel(kernels[way], (WHOLE, x + place, y + place, r - first, n, 0, 0, 0, 1))
    return r


@internal
def few_in_order(x, y, first, last, offsets, counts, e, kernel, like):  # type: ignore[no-untyped-def]
    """Rows of few classes from `first` to `last`, by way of their order at `e`.

    `counts` has, for each length, how many they are, and becomes 0.
    """
    size = itemsize(like)
    begins = np.empty(FEW + 1, np.int64)
    place = e
    for n in range(FEW + 1):
        begins[n] = place
        place += counts[n] * n * size
    for r in range(first, last):
        n = offsets[r + 1] - offsets[r]
        if 0 < n <= FEW:
            copy_row(x + offsets[r] * size, begins[n], n, like)
            begins[n] += n * size
    place = e
    for n in range(FEW + 1):
        if n and counts[n]:
            call_kernel(kernel, (WHOLE, place, place, counts[n], n, 0, 0, 0, 1))
        begins[n] = place
        place += counts[n] * n * size
        counts[n] = 0
    for r in range(first, last):
        n = offsets[r + 1] - offsets[r]
        if 0 < n <= FEW:
            copy_row(begins[n], y + offsets[r] * size, n, like)
            begins[n] += n * size


@inner
def ragged_rows(x, y, rows, state, part, parts, like):  # type: ignore[no-untyped-def]
    """A part of the softmax of rows.

    `state` is where the address of their offsets is, and those of the kernels by their way.
    """
    table = rows_at(state, 1, 5, _LIKE)[0]
    offsets, kernels = rows_at(table[0], 1, rows + 1, _LIKE)[0], table[1:]
    r = share_begin(offsets, rows, part, parts)
    last = share_begin(offsets, rows, part + 1, parts)
    scratch = room((_ENTRIES + FEW) * itemsize(like))
    e, counts = aligned(scratch), np.zeros(FEW + 1, np.int64)
    while r < last:
        first, entries, end = r, 0, min(last, r + _ROWS)
        while r < end and entries < _ENTRIES:
            n = offsets[r + 1] - offsets[r]
            if n > FEW:
                r = rows_alike(x, y, r, end, offsets, kernels, like)
            else:
                counts[n] += 1
                entries += n
                r += 1
        n = offsets[first + 1] - offsets[first]
        if n <= FEW and counts[n] == r - first:
            counts[n] = 0
            if n:
                rows_alike(x, y, first, r, offsets, kernels, like)
        else:
            few_in_order(x, y, first, r, offsets, counts, e, kernels[0], like)
    release(scratch)


def _kernel(like: Any) -> Callable[..., None]:
    def ragged(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
        ragged_rows(x, y, rows, state, part, parts, like)

    return ragged


@cache
def kernel(dtype: np.dtype[Any]) -> int:
    """The address of the kernel for a working precision."""
    made = _kernel(dtype.type(0))
    made.__qualname__ = f"ragged_{dtype.name}"  # by which its code is found in the cache
    return address_of(made)
