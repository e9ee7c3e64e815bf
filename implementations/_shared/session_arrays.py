"""NumPy arrays for the sessions of inference libraries: checked, and written in place if possible.

What onnxruntime, openvino, litert, ggml, mnn, ncnn and tract share: a session reads contiguous
memory, and some write to memory that they are given.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

Array = NDArray[Any]


def thread_count() -> int:
    """The threads of a session that is made now."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def checked(x: Array, out: Array | None = None, dtypes: tuple[str, ...] = ("float32",)) -> Array:
    """`x` as an array, or one clear line where it or `out` does not serve."""
    x = np.asarray(x)
    if not x.dtype.isnative or x.dtype.name not in dtypes:
        raise TypeError(f"x: expected {' or '.join(dtypes)}; got {x.dtype}")
    if out is not None and (out.shape != x.shape or out.dtype != x.dtype):
        raise ValueError(
            f"out: expected shape {x.shape} and dtype {x.dtype}; got {out.shape} and {out.dtype}"
        )
    return x


def result_for(source: Array, out: Array | None) -> Array:
    """What the session writes to: `out` itself where it is contiguous and apart from `source`."""
    serves = (
        out is not None
        and out.flags.c_contiguous
        and out.flags.aligned
        and not np.may_share_memory(out, source)
    )
    return out if serves and out is not None else np.empty(source.shape, source.dtype)


def delivered(result: Array, out: Array | None) -> Array:
    """What the caller gets: `result`, copied to `out` where that is another array."""
    if out is None or result is out:
        return result
    np.copyto(out, result)
    return out


def rows_and_classes(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """A shape of the same memory with the classes as axis 1: (rows, classes), or more behind."""
    axis = normalize_axis_index(axis, len(shape))
    inner = math.prod(shape[axis + 1 :])
    rows, classes = math.prod(shape[:axis]), shape[axis]
    return (rows, classes) if inner == 1 else (rows, classes, inner)


def by_rows(call: Callable[[Array], Array], x: Array, axis: int) -> Array:
    """`call` of a contiguous (rows, classes), for libraries that know the last axis alone.

    Args:
        call: gives an array of the same shape; is not called without elements.
    """
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    moved = np.moveaxis(x, axis, -1)
    rows = np.require(moved.reshape(-1, moved.shape[-1]), requirements=["C", "A"])
    return np.moveaxis(call(rows).reshape(moved.shape), -1, axis)
