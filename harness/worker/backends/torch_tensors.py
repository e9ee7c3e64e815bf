"""torch tensors on the CPU."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from harness.worker.backends import Backend, check_threads

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def _from_numpy(array: NDArray[Any]) -> Any:
    """A tensor on the array's own memory.

    Copied, with the values kept, are arrays that torch cannot express (a negative stride, or one
    that is no multiple of the item), misaligned ones, and read-only ones (torch would let them
    be written to).
    """
    odd = any(s < 0 or s % array.itemsize for s in array.strides)
    if odd or not (array.flags.writeable and array.flags.aligned):
        array = array.copy()
    if array.dtype == _BFLOAT16:
        # torch does not know NumPy's registered dtypes, so the bits travel as integers.
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _to_numpy(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.int16).numpy().view(_BFLOAT16))
    return np.asarray(tensor.numpy())


def backend() -> Backend:
    """The backend of torch on the CPU, where calls return when they are done."""
    return Backend(
        name="torch",
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
        empty_like=lambda t: torch.empty(t.shape, dtype=t.dtype),
        prefault=lambda t: t.zero_(),
        set_threads=lambda count: torch.set_num_threads(check_threads(count)),
        threads=lambda: int(torch.get_num_threads()),
        exp=torch.exp,
        version=lambda: str(torch.__version__),
    )
