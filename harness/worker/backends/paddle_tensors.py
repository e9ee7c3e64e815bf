"""PaddlePaddle's eager tensors on the CPU."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.backends import Backend, cores, native_copy

with warnings.catch_warnings():  # it warns of what a compiler could need, and of old Python
    warnings.simplefilter("ignore")
    import paddle


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy. Strides are not kept."""
    return paddle.to_tensor(native_copy(array), place=paddle.CPUPlace())


def backend() -> Backend:
    """The backend of PaddlePaddle on the CPU, where calls return when they are done."""
    return Backend(
        name="paddle",
        from_numpy=_from_numpy,
        to_numpy=lambda tensor: np.asarray(tensor.numpy()),
        empty_like=paddle.zeros_like,
        set_threads=cores.bind,
        threads=cores.bound,
        exp=paddle.exp,
        version=lambda: str(paddle.__version__),
    )
