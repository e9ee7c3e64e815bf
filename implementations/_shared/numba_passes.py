"""The compiled softmax by passes of `three_pass_numba`, `two_pass_numba` and the online ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from implementations._numba import passes
from implementations._shared.numpy_rows import Array, as_rows, buffer_for, check, deliver
from implementations._simd.launch import address_of, launch, place_of, thread_count

_PARALLEL = 1 << 15  # elements from which starting the threads pays


@cache
def _kernel(dtype: np.dtype[Any]) -> int:
    return address_of(getattr(passes, f"passes_{dtype.name}"))


def softmax_by(way: int, x: Array, axis: int, out: Array | None) -> Array:
    """Softmax along `axis` the way that is numbered so; rows are divided over the threads."""
    x = check(x, out)
    rows = as_rows(x, axis)
    result = buffer_for(rows, x, axis, out)
    if result is out and out is not x and np.may_share_memory(rows, out):
        result = np.empty_like(rows)
    if rows.size:
        count = rows.size // rows.shape[-1]
        parts = min(count, thread_count()) if rows.size >= _PARALLEL else 1
        given = rows if rows.flags.writeable else rows.copy()
        launch(
            _kernel(rows.dtype), way, place_of(given), place_of(result), count, rows.shape[-1],
            0, 0, parts,
        )  # fmt: skip
    return deliver(result, x, axis, out)
