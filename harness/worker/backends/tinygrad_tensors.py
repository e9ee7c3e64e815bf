"""tinygrad tensors on the CPU, computed when a call returns."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tinygrad import Device, Tensor, dtypes

from harness.worker.backends import Backend, cores, native_copy

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy. Strides are not kept; tensors have none."""
    host = native_copy(array)
    if host.dtype == _BFLOAT16:
        bits = Tensor(host.view(np.uint16), device="CPU").realize()
        return bits.bitcast(dtypes.bfloat16).contiguous().realize()
    return Tensor(host, device="CPU").realize()


def _to_numpy(tensor: Any) -> NDArray[Any]:
    if tensor.dtype == dtypes.bfloat16:  # its bits as integers are not always to be had
        return np.asarray(tensor.cast(dtypes.float32).numpy().astype(_BFLOAT16))
    return np.asarray(tensor.numpy())


def backend() -> Backend:
    """The backend of tinygrad on the CPU."""
    return Backend(
        name="tinygrad",
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
        empty_like=lambda t: Tensor.zeros(*t.shape, dtype=t.dtype, device="CPU").realize(),
        synchronize=lambda: Device["CPU"].synchronize(),
        set_threads=cores.bind,
        threads=cores.bound,
        exp=lambda t: t.exp().realize(),
        version=lambda: version("tinygrad"),
    )
