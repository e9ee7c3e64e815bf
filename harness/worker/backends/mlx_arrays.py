"""MLX arrays on the CPU, computed when a call returns."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from harness.worker.backends import Backend, cores, native_copy

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

mx.set_default_device(mx.cpu)  # on a Mac it would be the GPU


def _computed(array: Any) -> Any:
    mx.eval(array)
    return array


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy. Strides are not kept."""
    host = native_copy(array)
    if host.dtype == _BFLOAT16:
        return _computed(mx.array(host.view(np.uint16)).view(mx.bfloat16))
    # float64 arrays would silently become float32 ones
    return _computed(mx.array(host, dtype=mx.float64 if host.dtype == np.float64 else None))


def _to_numpy(array: Any) -> NDArray[Any]:
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).view(_BFLOAT16)
    return np.array(array)


def backend() -> Backend:
    """The backend of MLX on the CPU."""
    return Backend(
        name="mlx",
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
        empty_like=lambda array: _computed(mx.zeros_like(array)),
        set_threads=cores.bind,
        threads=cores.bound,
        exp=lambda array: _computed(mx.exp(array)),
        version=lambda: version("mlx"),
    )
