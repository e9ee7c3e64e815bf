"""What this machine can do at best: copies of the same bytes that an implementation moves.

A copy reads each byte once and writes each byte once; no softmax of data larger than the caches
does less. The copies take and give arrays as an operation does, so the worker times them like an
implementation, on as many threads as `numba.set_num_threads` says:

- *regular* stores read a cache line from memory before they overwrite it, so the memory moves
  three bytes for two (unless the processor recognises the pattern);
- *non-temporal* stores write whole lines past the caches: the higher limit for arrays that do
  not fit in them, and meaningless for arrays that do.

Bandwidth counts the bytes asked for, as STREAM does (McCalpin 1995), never the extra read.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from harness.machine.copy_kernels import IS_X86_64, copy_parallel, copy_serial

Array = NDArray[Any]

_SERIAL_BYTES = 2**17  # below this, starting the threads takes longer than the copy


def nontemporal_supported() -> tuple[bool, str]:
    """Whether `copy_nontemporal` works here, and the reason if not ("" if it does)."""
    if IS_X86_64:
        return True, ""
    return False, "non-temporal stores are implemented for x86-64 only; the regular copy remains"


def _copy(x: Array, out: Array | None, nontemporal: bool) -> Array:
    if out is None:
        out = np.empty_like(x)
    if not (x.flags.c_contiguous and out.flags.c_contiguous):
        raise ValueError(
            "copy: expected C-contiguous x and out; got strides "
            f"{x.strides} and {out.strides}; pass contiguous arrays"
        )
    if x.dtype != out.dtype or x.shape != out.shape or x.dtype.hasobject:
        raise ValueError(
            f"copy: expected out like x, {x.dtype} {x.shape}; got {out.dtype} {out.shape}"
        )
    source, destination = x.__array_interface__, out.__array_interface__
    (start, _), (target, read_only) = source["data"], destination["data"]
    if read_only:
        raise ValueError("copy: expected a writeable out; got a read-only one")
    if start < target + x.nbytes and target < start + x.nbytes and x.nbytes:
        raise ValueError("copy: expected x and out that do not overlap; pass another out")
    threads = numba.get_num_threads()
    if threads == 1 or x.nbytes < _SERIAL_BYTES:
        copy_serial(target, start, x.nbytes, nontemporal)
    else:
        copy_parallel(target, start, x.nbytes, nontemporal, threads)
    return out


def copy_regular(x: Array, out: Array | None = None) -> Array:
    """`x` copied into `out` with ordinary aligned vector stores (not through memcpy).

    Args:
        x: C-contiguous array of any dtype without objects.
        out: of the same shape and dtype, not overlapping; allocated if None.

    Raises:
        ValueError: where they do not match, overlap, or are not contiguous.
    """
    return _copy(x, out, nontemporal=False)


def copy_nontemporal(x: Array, out: Array | None = None) -> Array:
    """`x` copied into `out` with stores that bypass the caches; as `copy_regular` otherwise.

    Raises:
        RuntimeError: on a processor without them (see `nontemporal_supported`).
    """
    supported, reason = nontemporal_supported()
    if not supported:
        raise RuntimeError(f"copy_nontemporal: {reason}")
    return _copy(x, out, nontemporal=True)
