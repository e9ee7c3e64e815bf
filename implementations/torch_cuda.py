"""torch.softmax on an NVIDIA GPU, eager.

The peer of the training world: persistent warps up to 1024 classes, a block per row beyond, and
float32 inside for 16-bit formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

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
    return torch.ops.aten._softmax_backward_data(grad, y, axis, y.dtype)


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """torch.nn.functional.cross_entropy per row, and the gradient of its sum by autograd."""
    leaf = logits.detach().requires_grad_(True)
    rows = leaf.reshape(-1, leaf.shape[-1])
    loss = functional.cross_entropy(rows, targets.reshape(-1).long(), reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach().reshape(targets.shape), gradient
