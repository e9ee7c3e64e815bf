"""Three plain loops in Numba, a thread a row, as people write it.

The peer of one's own first kernel: a maximum, the exponentials and their sum, the quotients, each
a loop over the row, the rows shared out with prange. The sum is float64 because the literal 0.0
is. Compiled at the first call for a format and kept in Numba's cache. Along any other axis than
the last it works on a copy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32"),
    "requires": ("numba",),
    "source": "https://numba.readthedocs.io/en/stable/user/parallel.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "passes": 5,
    "threads": "many",
    "deviations": (),
}


@njit(parallel=True, cache=True)
def _softmax(x, out):  # type: ignore[no-untyped-def]
    rows, classes = x.shape
    for i in prange(rows):
        m = x[i, 0]
        for j in range(1, classes):
            m = max(m, x[i, j])
        s = 0.0
        for j in range(classes):
            e = math.exp(x[i, j] - m)
            out[i, j] = e
            s += e
        for j in range(classes):
            out[i, j] = out[i, j] / s


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"x: expected float64 or float32; got {x.dtype}")
    if out is not None and (out.shape != x.shape or out.dtype != x.dtype):
        raise ValueError(
            f"out: expected shape {x.shape} and dtype {x.dtype}; got {out.shape} and {out.dtype}"
        )
    moved = np.moveaxis(x, axis, -1)
    rows = np.ascontiguousarray(moved)
    serves = out is not None and out.flags.c_contiguous and axis in (-1, x.ndim - 1)
    if serves and out is not x:  # one that overlaps lies on entries not yet read
        serves = not np.may_share_memory(rows, out)
    result = out if serves and out is not None else np.empty(rows.shape, x.dtype)
    if x.size:
        shape = (-1, rows.shape[-1])
        _softmax(rows.reshape(shape), result.reshape(shape))
    back = np.moveaxis(result, -1, axis) if result is not out else result
    if out is None or back is out:
        return back
    out[...] = back
    return out
