"""The launch of long rows in the caches: whole ones for each thread, and what is left shared."""

from __future__ import annotations

import numpy as np
from numba import prange

from implementations._numba.shared_rows import counters_bytes, shared_room
from implementations._numba.softmax import SHARED, WHOLE
from implementations._simd.compilation import LINE, compiled
from implementations._simd.launch import call_kernel, is_alone, numba_threads, with_threads
from implementations._simd.memory import store_one


@compiled(parallel=True)
def _launch(function, x, y, rows, n, size, sums, alone):  # type: ignore[no-untyped-def]
    """`launch_long`; to be called from Python alone, as that of `launch`."""
    threads = 1 if alone else numba_threads()
    whole = rows if threads == 1 else rows // threads * threads
    left, done = rows - whole, whole * n * size
    room = np.empty(LINE + (shared_room(left, n, size, threads, x == y) if left else 0), np.uint8)
    start = np.intp(room.ctypes.data)
    place = start + -start % LINE
    for i in range(0, counters_bytes(threads) if left else 0, 8):
        store_one(place + i, 0.0)
    kept = sums + 24 * whole if sums else 0
    if threads == 1:
        call_kernel(function, (WHOLE, x, y, rows, n, 0, sums, 0, 1))
    else:
        for part in prange(threads):
            if whole:
                call_kernel(function, (WHOLE, x, y, whole, n, 0, sums, part, threads))
            if left:
                rest = (SHARED, x + done, y + done, left, n, kept, place, part, threads)
                call_kernel(function, rest)
    room[0] = 0  # until here it is in use


def launch_long(function: int, x: int, y: int, rows: int, n: int, size: int, sums: int) -> None:
    """Softmax of rows of at least LONG classes of `size` bytes at `x` to `y`, by their kernel.

    `sums` is where three numbers of each row are kept, or 0.
    """
    with_threads(_launch, function, x, y, rows, n, size, sums, is_alone())
