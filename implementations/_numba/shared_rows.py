"""Few long rows on several threads at once, in one launch.

In three steps: the exponentials of all blocks, the sum of each row, the results. A thread takes the
blocks of its own share, one after the other, then those that others have not begun, and later
writes the results of those that it took, which are in its caches. Between steps it waits for what a
running thread is at, never for a thread to start: where the parts of a launch run one after the
other, the first does it all.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from implementations._numba.long_row_results import write
from implementations._numba.long_rows import (
    BEFORE,
    REST,
    SUM,
    compute,
    merge,
    numbers_of,
    state_bytes,
)
from implementations._numba.row import BLOCK, keep_sums
from implementations._simd.compilation import LINE, inner, internal
from implementations._simd.memory import itemsize, load_one, pause, seen, store_one, take

_COUNTERS = 4  # of each part, a line for each: units taken and done, of the first two steps


@register_jitable  # type: ignore[misc]
def counters_bytes(parts: int) -> int:
    """Of the room, at its beginning: they are to be 0."""
    return _COUNTERS * LINE * parts


@register_jitable  # type: ignore[misc]
def shared_room(rows: int, n: int, size: int, parts: int, in_place: bool) -> int:
    """Bytes for counters, the numbers of the rows, and their exponentials if not in the result.

    To begin at a multiple of LINE.
    """
    kept = rows * n * size if in_place else 0
    return counters_bytes(parts) + rows * state_bytes(n) + kept


@inner
def next_unit(taken, count, part, parts):  # type: ignore[no-untyped-def]
    """A unit of `count` that nobody has taken, or -1."""
    for i in range(parts):
        p = (part + i) % parts
        first, last = count * p // parts, count * (p + 1) // parts
        place = taken + LINE * p
        if first + seen(place) < last:
            unit = first + take(place)
            if unit < last:
                return unit
    return -1


@inner
def wait_for(done, count, parts):  # type: ignore[no-untyped-def]
    """Until `count` units are done by all parts together."""
    found = 0
    while found < count:
        pause()
        found = 0
        for p in range(parts):
            found += seen(done + LINE * p)


@internal
def shared_rows(x, y, rows, n, sums, room, part, parts, like):  # type: ignore[no-untyped-def]
    """A part of the softmax of `rows` rows, of which `sums` is as `rows_through_scratch` has it."""
    step, blocks = n * itemsize(like), n // BLOCK
    numbers, states = state_bytes(n), room + counters_bytes(parts)
    kept = states + rows * numbers if x == y else y
    exact, each = sums != 0, LINE * parts
    taken, done = room, room + each
    guess, own = True, -1
    unit = next_unit(taken, rows * blocks, part, parts)
    while unit >= 0:
        r, b = unit // blocks, unit % blocks
        row, state = x + r * step, states + r * numbers
        guess = compute(row, kept + r * step, n, b, b + 1, False, exact, guess, state, like)
        store_one(numbers_of(state, b) + BEFORE, np.float64(own))
        own = unit
        take(done + LINE * part)
        unit = next_unit(taken, rows * blocks, part, parts)
    wait_for(done, rows * blocks, parts)
    taken, done = room + 2 * each, room + 3 * each
    r = next_unit(taken, rows, part, parts)
    while r >= 0:
        row, state = x + r * step, states + r * numbers
        if not merge(row, n, False, exact, state, like):
            compute(row, kept + r * step, n, 0, blocks, True, exact, False, state, like)
            merge(row, n, True, exact, state, like)
        if sums:
            total, rest = load_one(state + SUM, 0.0), load_one(state + REST, 0.0)
            keep_sums(sums + 24 * r, load_one(state, 0.0), total, rest)
        take(done + LINE * part)
        r = next_unit(taken, rows, part, parts)
    wait_for(done, rows, parts)
    while own >= 0:
        r, b = own // blocks, own % blocks
        state = states + r * numbers
        write(kept + r * step, y + r * step, n, b, b + 1, state, like)
        own = np.int64(load_one(numbers_of(state, b) + BEFORE, 0.0))
