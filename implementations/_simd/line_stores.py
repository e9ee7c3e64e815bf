"""Whole lines of a staging buffer to memory, past the caches or not.

A stream begins and ends anywhere, and lines that it shares with its neighbours are written number
by number: another thread may be writing there. For float32 and float64 alike.
"""

from __future__ import annotations

from implementations._simd.compilation import LINE, VECTOR_BYTES, inner
from implementations._simd.memory import (
    fence,
    itemsize,
    load,
    load_one,
    store,
    store_one,
    store_past,
)


@inner
def flush(to, staging, held, foreign, past, like):  # type: ignore[no-untyped-def]
    """Write whole lines of the `held` bytes at `staging` to `to`; (to, held, foreign) after it.

    `to` and `staging` are multiples of LINE. The first `foreign` bytes at `staging` stand for what
    is not ours to write: another thread may be writing there. `past` chooses stores past the
    caches. What follows the last whole line is moved to the front of the buffer, which has a line
    to spare. `finish` writes the rest.
    """
    whole = held // LINE * LINE
    if whole == 0:
        return to, held, foreign
    start = 0
    if foreign:
        write_part(to, staging, foreign, LINE, like)
        start = LINE
    if past:
        for i in range(start, whole, VECTOR_BYTES):
            store_past(to + i, load(staging + i, like))
    else:
        for i in range(start, whole, VECTOR_BYTES):
            store(to + i, load(staging + i, like))
    for i in range(0, LINE, VECTOR_BYTES):
        store(staging + i, load(staging + whole + i, like))
    return to + whole, held - whole, 0


@inner
def write_part(to, staging, start, stop, like):  # type: ignore[no-untyped-def]
    """Bytes from `start` to `stop` of a buffer, number by number."""
    for i in range(start, stop, itemsize(like)):
        store_one(to + i, load_one(staging + i, like))


@inner
def finish(to, staging, held, foreign, past, like):  # type: ignore[no-untyped-def]
    """Write what `flush` left, and wait until all is visible."""
    to, held, foreign = flush(to, staging, held, foreign, past, like)
    write_part(to, staging, foreign, held, like)
    if past:
        fence()
