"""CuPy arrays on the current CUDA device."""

from __future__ import annotations

from typing import Any

import cupy
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from harness.worker.backends import Backend, cupy_device

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class Bfloat16:
    """bfloat16 on the device: CuPy has no such dtype, so the bits are held as uint16.

    Attributes:
        bits: a cupy.ndarray of uint16.
    """

    def __init__(self, bits: Any) -> None:
        self.bits = bits


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy on the device, contiguous: the strides of the host are not kept."""
    if array.dtype == _BFLOAT16:
        return Bfloat16(cupy.asarray(np.array(array, order="C").view(np.uint16)))
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return cupy.asarray(np.array(array, order="C"))  # of any dimension, none included


def _to_numpy(native: Any) -> NDArray[Any]:
    if isinstance(native, Bfloat16):
        return np.asarray(cupy.asnumpy(native.bits).view(_BFLOAT16))
    return np.asarray(cupy.asnumpy(native))


def _empty_like(native: Any) -> Any:
    if isinstance(native, Bfloat16):
        return Bfloat16(cupy.empty(native.bits.shape, cupy.uint16))
    return cupy.empty(native.shape, native.dtype)


def _prefault(native: Any) -> None:
    (native.bits if isinstance(native, Bfloat16) else native).fill(0)


def _synchronize() -> None:
    cupy.cuda.get_current_stream().synchronize()


def backend() -> Backend:
    """The backend of CuPy. Calls return before they are done: `synchronize` waits."""
    return Backend(
        name="cupy",
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
        empty_like=_empty_like,
        prefault=_prefault,
        synchronize=_synchronize,
        exp=lambda x: cupy.exp(x),
        version=lambda: str(cupy.__version__),
        device=cupy_device.device(),
    )
