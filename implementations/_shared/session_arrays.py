"""NumPy arrays for the sessions of inference libraries: checked, and written in place if possible.

What onnxruntime and openvino share: a session reads contiguous float32 and writes to memory that it
is given.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def thread_count() -> int:
    """The threads of a session that is made now."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def checked(x: Array, out: Array | None) -> Array:
    """`x` as an array, or one clear line where it or `out` does not serve."""
    x = np.asarray(x)
    if x.dtype != np.float32:
        raise TypeError(f"x: expected float32; got {x.dtype}")
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
