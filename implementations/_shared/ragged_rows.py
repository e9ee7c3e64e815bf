"""Rows of unlike lengths, one after the other in one array: what callers may pass, and NumPy's way.

The stored entries of a CSR matrix of SciPy are such rows: ``data`` and ``indptr``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from implementations._shared.numpy_rows import Array, as_rows, buffer_for, check, deliver


def check_ragged(values: Any, offsets: Any, out: Array | None) -> tuple[Array, Array]:
    """`values` and `offsets`, int64, as arrays, or one clear line on what does not fit."""
    x, found = check(values, out), np.asarray(offsets)
    if x.ndim != 1:
        raise ValueError(f"values: expected one dimension, all rows in it; got shape {x.shape}")
    if found.dtype.kind not in "iu":
        raise TypeError(f"offsets: expected integers; got {found.dtype}")
    if found.ndim != 1 or not found.size or found[0] != 0 or found[-1] != x.size:
        got = f"{found[0]} to {found[-1]}" if found.ndim == 1 and found.size else found.shape
        raise ValueError(f"offsets: expected one dimension, from 0 to {x.size}; got {got}")
    if np.any(found[1:] < found[:-1]):
        raise ValueError("offsets: expected to ascend; a row ends before it begins")
    return x, np.ascontiguousarray(found, np.int64)


@np.errstate(all="ignore")
def max_shift(values: Any, offsets: Any, out: Array | None) -> Array:
    """exp(x - max) / sum(exp(x - max)) of each row.

    `reduceat` gives an empty row the entry after it, so that it is asked of the others alone.
    """
    x, offsets = check_ragged(values, offsets, out)
    lengths = np.diff(offsets)
    starts, lengths = offsets[:-1][lengths > 0], lengths[lengths > 0]
    rows = as_rows(x, -1)
    e = buffer_for(rows, x, -1, out)
    if len(starts):
        np.subtract(rows, np.repeat(np.maximum.reduceat(rows, starts), lengths), out=e)
        np.exp(e, out=e)
        np.divide(e, np.repeat(np.add.reduceat(e, starts), lengths), out=e)
    return deliver(e, x, -1, out)
