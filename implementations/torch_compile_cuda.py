"""torch.compile of torch.softmax on an NVIDIA GPU: Triton made by TorchInductor.

The first call for an axis, a format and a kind of layout traces and compiles. Every shape gets a
program of its own, as torch.compile does at first; more programs than Inductor allows by default
are compiled, and one that cannot be is an error: never the eager softmax under this name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():  # torch's own modules use what torch deprecates
    warnings.simplefilter("ignore")
    import torch
    import torch._dynamo
    import torch._inductor.config

from implementations._shared import torch_operations as operations

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch_cuda",
    "device": "cuda",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch", "triton"),
    "source": "https://docs.pytorch.org/docs/stable/generated/torch.compile.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "generic",
    "threads": "many",
    "deviations": (),
}

_PROGRAMS = 1 << 20  # by default 8: the ninth call would be eager, or an error

torch._dynamo.config.recompile_limit = _PROGRAMS
torch._dynamo.config.accumulated_recompile_limit = _PROGRAMS
torch._inductor.config.compile_threads = 1  # else a pool of processes stays behind


@lru_cache(maxsize=64)
def _compiled(function: Callable[..., Any], axis: int) -> Callable[..., Any]:
    def call(x: Tensor) -> Tensor:
        result: Tensor = function(x, axis)
        return result

    return torch.compile(call, dynamic=False, fullgraph=True)


@lru_cache(maxsize=1)
def _compiled_losses() -> Callable[..., Any]:
    return torch.compile(operations.losses, dynamic=False, fullgraph=True)


@lru_cache(maxsize=64)
def _compiled_backward(axis: int) -> Callable[..., Any]:
    def call(grad: Tensor, y: Tensor) -> Tensor:
        return operations.softmax_backward(grad, y, axis)

    return torch.compile(call, dynamic=False, fullgraph=True)


@torch.no_grad()
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """torch.compile(torch.softmax)(x, axis)."""
    return _compiled(torch.softmax, axis)(x)


@torch.no_grad()
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """torch.compile(torch.log_softmax)(x, axis)."""
    return _compiled(torch.log_softmax, axis)(x)


@torch.no_grad()
def logsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """torch.compile(torch.logsumexp)(x, axis)."""
    return _compiled(torch.logsumexp, axis)(x)


@torch.no_grad()
def softmax_backward(grad: Tensor, y: Tensor, axis: int = -1) -> Tensor:
    """The backward of torch.softmax, compiled."""
    return _compiled_backward(axis)(grad, y)


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row by a compiled function, and the gradient of its sum by autograd."""
    return operations.loss_and_gradient(logits, targets, _compiled_losses())


@torch.no_grad()
def cross_entropy_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss alone, compiled without a gradient."""
    rows = logits.reshape(-1, logits.shape[-1])
    return _compiled_losses()(rows, targets.reshape(-1)).reshape(targets.shape)
