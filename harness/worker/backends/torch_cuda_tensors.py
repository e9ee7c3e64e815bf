"""torch tensors on the current CUDA device."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from harness.worker.backends import Backend, torch_device, torch_tensors


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy on the device, with the strides where torch can express them."""
    host = torch_tensors.backend().from_numpy(array)
    return host.to("cuda", copy=True)


def _to_numpy(tensor: Any) -> NDArray[Any]:
    return torch_tensors.backend().to_numpy(tensor.detach().cpu())


def backend() -> Backend:
    """The backend of torch on CUDA. Calls return before they are done: `synchronize` waits."""
    return Backend(
        name="torch_cuda",
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
        empty_like=lambda t: torch.empty(t.shape, dtype=t.dtype, device=t.device),
        prefault=lambda t: t.zero_(),
        synchronize=torch.cuda.synchronize,
        exp=torch.exp,
        version=lambda: str(torch.__version__),
        device=torch_device.device(),
    )
