"""The compiled softmax of `numba_cpu`: rows in memory by their addresses.

Four ways, by the number of classes, so that the bits of a row depend on nothing but the row:

- few classes: as many rows as a vector has lanes at once, transposed in registers, a row a lane;
  few rows of them one by one, to the same bits;
- below `SHORT`: a group of rows at a time, step by step;
- below `LONG`: maximum and minimum, exponentials into a scratch row that stays in the caches,
  their multiples to the result; of float32 in one loop over three rows where results go past the
  caches;
- beyond: blocks of a row with frames of their own, which threads can share.

Results that go past the caches go through a small buffer, from which whole lines are written.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from implementations._numba.exponential import as_like
from implementations._numba.logits import masked_logits, scaled_logits
from implementations._numba.long_row_results import write, write_past
from implementations._numba.long_rows import (
    REST,
    SUM,
    compute,
    kept_at,
    merge,
    state_bytes,
    state_of,
)
from implementations._numba.row import (
    BLOCK,
    aligned,
    keep_sums,
    release,
    room,
    rows_through_scratch,
)
from implementations._numba.rows_in_lanes import FEW, rows_in_lanes
from implementations._numba.short_rows import SHORT, short_rows
from implementations._numba.single_rows import LONE, lone_rows
from implementations._numba.streamed_rows import taken_in_turns
from implementations._simd.compilation import LINE, VECTOR_BYTES, inner, internal
from implementations._simd.memory import itemsize, load_one, number_of

LONG = 1 << 18  # classes from which on a row is taken in blocks
WHOLE, BLOCKS, MERGE, COMMON_BLOCKS, COMMON_MERGE, RESULTS, TURN = range(7)


@register_jitable  # type: ignore[misc]
def long_room(n: int, size: int, scratch: bool) -> int:
    """Bytes for the numbers of two long rows, and the exponentials of one if they go to `scratch`.

    To begin at a multiple of LINE.
    """
    return 2 * state_bytes(n) + (n * size + LINE if scratch else 0)


@internal
def softmax_part(stage, x, y, rows, n, past, state, part, parts, like):  # type: ignore[no-untyped-def]
    """A part of the work: WHOLE rows, or a stage of long row number `rows`.

    With WHOLE rows of more than FEW classes, `state` is where their sums are kept, or 0; of a
    stage it is `long_room`.
    """
    if stage != WHOLE:
        long_stage(stage, x, y, rows, n, past, state, part, parts, like)
    elif n <= FEW:
        first, last = share(rows, part, parts, VECTOR_BYTES)
        if last - first <= LONE:
            lone_rows(x, y, first, last, n, like)
        else:
            rows_in_lanes(x, y, first, last, rows, n, past, like)
    else:
        first, last = share(rows, part, parts, 1)
        if n >= LONG:
            long_rows(x, y, first, last, n, past, state, like)
        elif n < SHORT and state == 0:
            short_rows(x, y, first, last, n, past, like)
        elif not (past and state == 0 and taken_in_turns(x, y, first, last, n, like)):
            rows_through_scratch(x, y, first, last, n, past, state, like)


@internal
def changed_part(x, y, rows, n, past, part, parts, like):  # type: ignore[no-untyped-def]
    """A part of whole rows whose logits are changed: a place of `logits`. Never in blocks."""
    if n <= FEW:
        first, last = share(rows, part, parts, VECTOR_BYTES)
        if last - first <= LONE:
            lone_rows(x, y, first, last, n, like)
        else:
            rows_in_lanes(x, y, first, last, rows, n, past, like)
        return
    first, last = share(rows, part, parts, 1)
    if n < SHORT:
        short_rows(x, y, first, last, n, past, like)
    elif not (past and taken_in_turns(x, y, first, last, n, like)):
        rows_through_scratch(x, y, first, last, n, past, 0, like)


@internal
def long_stage(stage, x, y, r, n, past, room, part, parts, like):  # type: ignore[no-untyped-def]
    """A stage of row `r`; a TURN is its BLOCKS and the RESULTS of the row before."""
    own, step = state_of(room, n, r), n * itemsize(like)
    row, result = x + r * step, y + r * step
    first, last = share(n // BLOCK, part, parts, 1)
    e = kept_at(room, x, y, n, r, past, like)
    if stage in (MERGE, COMMON_MERGE):
        merge(n, stage == COMMON_MERGE, own, like)
    elif stage == TURN:
        before = state_of(room, n, r - 1)
        write_past(row, e, result - step, n, first, last, own, before, like)
    elif stage == RESULTS and past:
        write_past(0, e, result, n, first, last, own, own, like)
    elif stage == RESULTS:
        write(e, result, n, first, last, own, like)
    else:
        compute(row, e, n, first, last, stage == COMMON_BLOCKS, own, like)


@internal
def long_rows(x, y, first, last, n, past, sums, like):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` on one thread."""
    own = room(long_room(n, itemsize(like), past or x == y))
    state = aligned(own)
    for r in range(first, last):
        stage = TURN if past and r > first else BLOCKS
        long_stage(stage, x, y, r, n, past, state, 0, 1, like)
        place = state_of(state, n, r)
        if not merge(n, False, place, like):
            long_stage(COMMON_BLOCKS, x, y, r, n, past, state, 0, 1, like)
            merge(n, True, place, like)
        if sums:
            total, rest = load_one(place + SUM, 0.0), load_one(place + REST, 0.0)
            keep_sums(sums + 24 * r, load_one(place, 0.0), total, rest)
        if not past or r == last - 1:
            long_stage(RESULTS, x, y, r, n, past, state, 0, 1, like)
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


def scaled_float32(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """Softmax of logits times a number, the float64 of which `state` has the bits."""
    like = np.float32(0)
    place = scaled_logits(x, as_like(number_of(state), like), like)
    changed_part(place, y, rows, n, past != 0, part, parts, like)


def scaled_float64(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """The same, of float64."""
    like = np.float64(0)
    place = scaled_logits(x, number_of(state), like)
    changed_part(place, y, rows, n, past != 0, part, parts, like)


def masked_float32(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """Softmax of the logits of which the bytes from the address `state` on are not 0."""
    like = np.float32(0)
    place = masked_logits(x, state, like)
    changed_part(place, y, rows, n, past != 0, part, parts, like)


def masked_float64(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
    """The same, of float64."""
    like = np.float64(0)
    place = masked_logits(x, state, like)
    changed_part(place, y, rows, n, past != 0, part, parts, like)
