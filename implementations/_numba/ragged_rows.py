"""Softmax of rows of unlike lengths: each by the kernel of its number of classes, to its bits.

Neighbours of one length are one call. The threads divide entries and rows, not rows alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from implementations._numba.rows_in_lanes import FEW
from implementations._numba.short_rows import SHORT
from implementations._numba.softmax import LONG, WHOLE
from implementations._simd.compilation import inner
from implementations._simd.launch import address_of, call_kernel, rows_at

OVERHEAD = 16  # entries that take as long as what a row costs beside its entries
_LIKE = np.int64(0)


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


def ragged_rows(stage, x, y, rows, size, past, state, part, parts):  # type: ignore[no-untyped-def]
    """A part of the softmax of rows, as a C function.

    `state` is where the address of their offsets is, and those of the kernels by their way; `size`
    is the bytes of an entry.
    """
    table = rows_at(state, 1, 5, _LIKE)[0]
    offsets = rows_at(table[0], 1, rows + 1, _LIKE)[0]
    r = share_begin(offsets, rows, part, parts)
    last = share_begin(offsets, rows, part + 1, parts)
    while r < last:
        start, first = offsets[r], r
        n = offsets[r + 1] - start
        r += 1
        while r < last and offsets[r + 1] - offsets[r] == n:
            r += 1
        if n:
            kernel = table[1 + (n > FEW) + (n >= SHORT) + (n >= LONG)]
            place = start * size
            call_kernel(kernel, (WHOLE, x + place, y + place, r - first, n, past, 0, 0, 1))


@cache
def kernel() -> int:
    """Its address, for every format."""
    return address_of(ragged_rows)
