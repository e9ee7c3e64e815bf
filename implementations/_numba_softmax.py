"""The compiled softmax of `numba_cpu`: rows in memory by their addresses.

Four ways, by the number of classes, so that the bits of a row depend on nothing but the row:

- few classes: as many rows as a vector has lanes at once, transposed in registers, a row a lane;
  few rows of them one by one, to the same bits;
- below `SHORT`: a group of rows at a time, step by step;
- below `LONG`: maximum and minimum, exponentials into a scratch row that stays in the caches,
  their multiples to the result; of float32 in one loop over three rows where results go past the
  caches;
- beyond: sums of blocks, each with a frame of its own, merged by powers of two, which is exact;
  then the exponentials once more, from a second read of the row.

Results go through a small buffer, from which whole lines are written, past the caches if asked.
"""

from __future__ import annotations

import numpy as np

from implementations._numba_lanes import FEW, rows_in_lanes
from implementations._numba_lone import LONE, lone_rows
from implementations._numba_long import STATE, block_sums, merge, second_read
from implementations._numba_pipeline import taken_in_turns
from implementations._numba_row import BLOCK, keep_sums, release, rows_through_scratch
from implementations._numba_short import SHORT, short_rows
from implementations._simd_memory import itemsize, load_one, store_one
from implementations._simd_path import VECTOR_BYTES, compiled, inner

LONG = 1 << 18  # classes from which on a row is read twice
WHOLE, SUMS, MERGE, COMMON_SUMS, COMMON_MERGE, RESULTS = range(6)


@compiled
def softmax_part(stage, x, y, rows, n, past, state, part, parts, like):  # type: ignore[no-untyped-def]
    """A part of the work: WHOLE rows, or a stage of one long row with the numbers in `state`.

    With WHOLE rows of more than FEW classes, `state` is where their sums are kept, or 0.
    """
    if stage == WHOLE and n <= FEW:
        first, last = share(rows, part, parts, VECTOR_BYTES)
        if last - first <= LONE:
            lone_rows(x, y, first, last, n, like)
        else:
            rows_in_lanes(x, y, first, last, rows, n, past, like)
        return
    if stage == WHOLE and n < SHORT and state == 0:
        first, last = share(rows, part, parts, 1)
        short_rows(x, y, first, last, n, past, like)
        return
    if stage == WHOLE and n < LONG:
        first, last = share(rows, part, parts, 1)
        if not (past and state == 0 and taken_in_turns(x, y, first, last, n, like)):
            rows_through_scratch(x, y, first, last, n, past, state, like)
        return
    first, last, sums = 0, 1, 0
    own = np.empty(STATE + 4 * (n // BLOCK) if stage == WHOLE else 1)
    if stage == WHOLE:
        first, last = share(rows, part, parts, 1)
        sums, state = state, np.intp(own.ctypes.data)
    for r in range(first, last):
        row, result = x + r * n * itemsize(like), y + r * n * itemsize(like)
        from_block, to_block = 0, n // BLOCK
        if stage != WHOLE:
            from_block, to_block = share(n // BLOCK, part, parts, 1)
        settled = True
        if stage in (WHOLE, SUMS):
            block_sums(row, n, from_block, to_block, False, state, like)
        if stage in (WHOLE, MERGE):
            settled = merge(n, False, state, like)
            store_one(state + 32, 1.0 if settled else 0.0)
        if (stage == WHOLE and not settled) or stage == COMMON_SUMS:
            block_sums(row, n, from_block, to_block, True, state, like)
        if (stage == WHOLE and not settled) or stage == COMMON_MERGE:
            merge(n, True, state, like)
        if stage == WHOLE and sums:
            top, total = load_one(state, 0.0), load_one(state + 16, 0.0)
            keep_sums(sums + 24 * r, top, total, load_one(state + 24, 0.0))
        if stage in (WHOLE, RESULTS):
            second_read(row, result, n, from_block, to_block, state, past, like)
    release(own)


@inner
def share(count, part, parts, whole):  # type: ignore[no-untyped-def]
    """First and last of a part's share of `count`, in units of `whole`."""
    units = (count + whole - 1) // whole
    first, last = units * part // parts * whole, units * (part + 1) // parts * whole
    return min(first, count), min(last, count)


def softmax_float32(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """`softmax_part` as a C function, for float32."""
    softmax_part(stage, x, y, rows, n, past != 0, state, part, parts, np.float32(0))


def softmax_float64(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """`softmax_part` as a C function, for float64."""
    softmax_part(stage, x, y, rows, n, past != 0, state, part, parts, np.float64(0))
