"""torch.softmax on the CPU, eager.

The peer of the training world: vectorised, many threads. 16-bit formats are float32 inside along
the last axis; along any other the exponentials are rounded to the format in between, hence no
accumulator is declared.
Tensors in, tensors out. In one row's cache it reads the logits and writes the result: two passes
over memory where a row fits in the cache, four where it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ == "torch":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "torch: found implementations/torch.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import torch

from implementations._shared import torch_operations as operations

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch",),
    "source": "https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "passes": 2,
    "threads": "many",
    "deviations": (
        {"id": "strided-sum", "reason": "sums one by one along an axis that is not last"},
        {
            "id": "float16-sum",
            "reason": "log_softmax: a float16 sum overflows beyond 65504 classes",
        },
        {"id": "saturation", "reason": "log_softmax is 0 where the probability is near 1"},
        {"id": "gradient", "reason": "the gradient at the target is p - 1, rounded"},
        {"id": "no-entries", "reason": "a jagged tensor of empty rows alone cannot be padded"},
        {"id": "offsets", "reason": "a jagged tensor may begin after its first value: 0 there"},
    ),
}


def softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """torch.softmax(x, axis)."""
    return torch.softmax(x, axis, out=out)


def scaled_softmax(x: Tensor, scale: float, axis: int = -1) -> Tensor:
    """torch.softmax(x * scale, axis)."""
    return operations.scaled(x, scale, axis)


def masked_softmax(x: Tensor, mask: Tensor, axis: int = -1) -> Tensor:
    """torch.softmax(x.masked_fill(~mask, -inf), axis): NaN in rows without any class."""
    return operations.masked(x, mask, axis)


def softmax_with_sink(x: Tensor, sink: float, axis: int = -1) -> Tensor:
    """torch.softmax with the sink as one more class, which is dropped."""
    return operations.with_sink(x, sink, axis)


def softcap_softmax(x: Tensor, cap: float, axis: int = -1) -> Tensor:
    """torch.softmax(torch.tanh(x / cap) * cap, axis)."""
    return operations.softcapped(x, cap, axis)


def ragged_softmax(values: Tensor, offsets: Tensor) -> Tensor:
    """torch.softmax of a nested tensor of layout jagged, which pads the rows to the longest."""
    return operations.ragged(values, offsets)


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


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """torch.nn.functional.linear_cross_entropy per row, without options: logits, then the loss."""
    return operations.layer_loss_and_gradients(hidden, weight, targets)
