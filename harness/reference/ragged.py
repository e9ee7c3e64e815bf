"""Softmax of rows of unlike lengths, which lie one after the other in one array.

Rows of nearly the same length are filled up with -inf, whose exponential is 0, exactly, and are
evaluated together: many short rows would take long one by one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.operations import empty_exact, softmax_rows

IntArray = NDArray[np.int64]


def _filled_up(lengths: IntArray) -> IntArray:
    """Each length, or one that is larger by an eighth at most: eight in each power of two."""
    step = np.left_shift(1, np.maximum(np.frexp(lengths.astype(np.float64))[1] - 4, 0))
    return np.asarray(-(-lengths // step) * step, dtype=np.int64)


def ragged_rows(values: Float64Array, offsets: IntArray) -> Exact:
    """Softmax of each row of float64 `values`, (entries,), that offsets as checked say."""
    out = empty_exact(values.shape)
    starts, lengths = offsets[:-1], np.diff(offsets)
    together = _filled_up(lengths)
    for n in np.unique(together[lengths > 0]).tolist():
        rows = np.flatnonzero(together == n)
        kept = np.arange(n) < lengths[rows, None]
        places = (starts[rows, None] + np.arange(n))[kept]
        block = np.full(kept.shape, -np.inf)
        block[kept] = values[places]
        exact = softmax_rows(block)
        for part in ("hi", "lo", "exponent"):
            getattr(out, part)[places] = getattr(exact, part)[kept]
    return out
