"""torch.softmax on an NVIDIA GPU, eager.

The peer of the training world: persistent warps up to 1024 classes, a block per row beyond, and
float32 inside for 16-bit formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from implementations._shared import torch_operations as operations

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch_cuda",
    "device": "cuda",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch",),
    "source": "https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "deviations": (),
}


def softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """torch.softmax(x, axis)."""
    return torch.softmax(x, axis, out=out)


def log_softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """torch.log_softmax(x, axis)."""
    return torch.log_softmax(x, axis, out=out)


def logsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """torch.logsumexp(x, axis)."""
    return torch.logsumexp(x, axis)


def softmax_backward(grad: Tensor, y: Tensor, axis: int = -1) -> Tensor:
    """The backward of torch.softmax, as autograd calls it."""
    return operations.softmax_backward(grad, y, axis)


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """torch.nn.functional.cross_entropy per row, and the gradient of its sum by autograd."""
    return operations.loss_and_gradient(logits, targets)


@torch.no_grad()
def cross_entropy_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss alone, without a graph for autograd."""
    rows = logits.reshape(-1, logits.shape[-1])
    return operations.losses(rows, targets.reshape(-1)).reshape(targets.shape)
