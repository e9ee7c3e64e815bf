"""The compiled softmax of `numba_cpu`: rows in memory by their addresses.

Four ways, by the number of classes, so that the bits of a row depend on nothing but the row:

- few classes: as many rows as a vector has lanes at once, transposed in registers, a row a lane;
  few rows of them one by one, to the same bits;
- below `SHORT`: a group of rows at a time, step by step;
- below `LONG`: exponentials into a scratch row that stays in the caches, their multiples to the
  result; of float32 in one loop over three rows where results go past the caches;
- beyond: blocks of a row with frames of their own, which threads can share.

Each is a kernel of its own, compiled when it is first wanted, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

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
from implementations._numba.shared_rows import shared_rows
from implementations._numba.short_rows import SHORT, short_rows
from implementations._numba.single_rows import LONE, lone_rows
from implementations._numba.streamed_rows import taken_in_turns
from implementations._simd.compilation import LINE, VECTOR_BYTES, inner, internal
from implementations._simd.launch import address_of
from implementations._simd.memory import itemsize, load_one, number_of

LONG = 1 << 14  # classes from which on a row is taken in blocks
WHOLE, BLOCKS, MERGE, COMMON_BLOCKS, COMMON_MERGE, RESULTS, TURN, SHARED = range(8)
EXACT = 8  # to be added to a stage: the row's sum is to be kept, without roundings of float32


@register_jitable  # type: ignore[misc]
def long_room(n: int, size: int, scratch: bool) -> int:
    """Bytes for the numbers of two long rows, and the exponentials of one if they go to `scratch`.

    To begin at a multiple of LINE.
    """
    return 2 * state_bytes(n) + (n * size + LINE if scratch else 0)


@inner
def rows_of_few(x, y, rows, n, past, sums, part, parts, like):  # type: ignore[no-untyped-def]
    first, last = share(rows, part, parts, VECTOR_BYTES)
    if last - first <= LONE:
        lone_rows(x, y, first, last, n, like)
    else:
        rows_in_lanes(x, y, first, last, rows, n, past, like)


@inner
def groups_of_rows(x, y, rows, n, past, sums, part, parts, like):  # type: ignore[no-untyped-def]
    first, last = share(rows, part, parts, 1)
    short_rows(x, y, first, last, n, past, like)


@inner
def single_rows(x, y, rows, n, past, sums, part, parts, like):  # type: ignore[no-untyped-def]
    """`sums` is where three numbers of each row are kept, or 0."""
    first, last = share(rows, part, parts, 1)
    if not (past and sums == 0 and taken_in_turns(x, y, first, last, n, like)):
        rows_through_scratch(x, y, first, last, n, past, sums, like)


@inner
def rows_in_blocks(stage, x, y, rows, n, past, state, part, parts, like):  # type: ignore[no-untyped-def]
    """WHOLE rows, whose sums are kept at `state` unless that is 0; or rows that are SHARED.

    Of those `state` is `shared_room`, and `past` where their sums are kept. Any other stage is of
    row number `rows`, and `state` is `long_room`.
    """
    if stage == SHARED:
        shared_rows(x, y, rows, n, past, state, part, parts, like)
    elif stage != WHOLE:
        long_stage(stage, x, y, rows, n, past != 0, state, part, parts, like)
    else:
        first, last = share(rows, part, parts, 1)
        long_rows(x, y, first, last, n, past != 0, state, like)


@internal
def long_stage(stage, x, y, r, n, past, room, part, parts, like):  # type: ignore[no-untyped-def]
    """A stage of row `r`; a TURN is its BLOCKS and the RESULTS of the row before."""
    exact, stage = stage >= EXACT, stage % EXACT
    own, step = state_of(room, n, r), n * itemsize(like)
    row, result = x + r * step, y + r * step
    first, last = share(n // BLOCK, part, parts, 1)
    e = kept_at(room, x, y, n, r, past, like)
    if stage in (MERGE, COMMON_MERGE):
        merge(row, n, stage == COMMON_MERGE, exact, own, like)
    elif stage == TURN:
        before = state_of(room, n, r - 1)
        write_past(row, e, result - step, n, first, last, own, before, like)
    elif stage == RESULTS and past:
        write_past(0, e, result, n, first, last, own, own, like)
    elif stage == RESULTS:
        write(e, result, n, first, last, own, like)
    else:
        compute(row, e, n, first, last, stage == COMMON_BLOCKS, exact, True, own, like)


@internal
def long_rows(x, y, first, last, n, past, sums, like):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` on one thread."""
    own = room(long_room(n, itemsize(like), past or x == y))
    state = aligned(own)
    exact, flag = sums != 0, EXACT if sums else 0
    turning = past and not exact
    for r in range(first, last):
        stage = TURN if turning and r > first else BLOCKS + flag
        long_stage(stage, x, y, r, n, past, state, 0, 1, like)
        place = state_of(state, n, r)
        row = x + r * n * itemsize(like)
        if not merge(row, n, False, exact, place, like):
            long_stage(COMMON_BLOCKS + flag, x, y, r, n, past, state, 0, 1, like)
            merge(row, n, True, exact, place, like)
        if sums:
            total, rest = load_one(place + SUM, 0.0), load_one(place + REST, 0.0)
            keep_sums(sums + 24 * r, load_one(place, 0.0), total, rest)
        if not turning or r == last - 1:
            long_stage(RESULTS, x, y, r, n, past, state, 0, 1, like)
    release(own)


@inner
def share(count, part, parts, whole):  # type: ignore[no-untyped-def]
    """First and last of a part's share of `count`, in units of `whole`."""
    units = (count + whole - 1) // whole
    first, last = units * part // parts * whole, units * (part + 1) // parts * whole
    return min(first, count), min(last, count)


@inner
def plain(x, state, like):  # type: ignore[no-untyped-def]
    return x


@inner
def scaled(x, state, like):  # type: ignore[no-untyped-def]
    """`state` has the bits of a float64."""
    return scaled_logits(x, as_like(number_of(state), like), like)


@inner
def masked(x, state, like):  # type: ignore[no-untyped-def]
    """`state` is where a mask is in memory."""
    return masked_logits(x, state, like)


_PLACES = {"softmax": plain, "scaled": scaled, "masked": masked}
_WAYS = (rows_of_few, groups_of_rows, single_rows)
FEW_CLASSES, GROUPS, SINGLE, IN_BLOCKS = range(4)


def way_of(n: int) -> int:
    """The way that rows of `n` classes are taken, and those whose logits are changed.

    The latter are never taken in blocks.
    """
    return (n > FEW) + (n >= SHORT) + (n >= LONG)


def _kernel(logits: str, way: int, like: Any) -> Callable[..., None]:
    if way == IN_BLOCKS:

        def blocks(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
            rows_in_blocks(stage, x, y, rows, n, past, state, part, parts, like)

        return blocks
    rows_by, place, keeps = _WAYS[way], _PLACES[logits], logits == "softmax"

    def whole(stage, x, y, rows, n, past, state, part, parts):  # type: ignore[no-untyped-def]
        sums = state if keeps else 0
        rows_by(place(x, state, like), y, rows, n, past != 0, sums, part, parts, like)

    return whole


@cache
def kernel(logits: str, way: int, dtype: np.dtype[Any]) -> int:
    """The address of the kernel for logits "softmax" (as they are), "scaled" or "masked"."""
    made = _kernel(logits, way, dtype.type(0))
    made.__qualname__ = f"{logits}_{way}_{dtype.name}"  # by which its code is found in the cache
    return address_of(made)
