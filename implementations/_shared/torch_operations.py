"""torch's own operations: what `torch` and `torch_cuda` offer, and what the compiled ones compile.

The functions are the same on every device; what differs is said in the modules that offer them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

with warnings.catch_warnings():  # torch's own modules use what torch deprecates
    warnings.simplefilter("ignore")
    import torch
    from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def scaled(x: Tensor, scale: float, axis: int) -> Tensor:
    """Two steps, as written in most models: a product in the format, then softmax."""
    return torch.softmax(x * scale, axis)


def masked(x: Tensor, mask: Tensor, axis: int) -> Tensor:
    """masked_fill with -inf, then softmax: NaN in rows without any class."""
    return torch.softmax(x.masked_fill(~mask, -torch.inf), axis)


def with_sink(x: Tensor, sink: float, axis: int) -> Tensor:
    """The sink as one more class, dropped again, as in the reference code of gpt-oss."""
    shape = list(x.shape)
    shape[axis] = 1
    whole = torch.cat([x, x.new_full(shape, sink)], dim=axis)
    return torch.softmax(whole, axis).narrow(axis, 0, x.shape[axis])


def softcapped(x: Tensor, cap: float, axis: int) -> Tensor:
    """tanh(x / cap) * cap, then softmax, as in Gemma 2."""
    return torch.softmax(torch.tanh(x / cap) * cap, axis)


def ragged(values: Tensor, offsets: Tensor) -> Tensor:
    """A nested tensor of layout jagged, whose softmax pads all rows to the longest."""
    return torch.softmax(torch.nested.nested_tensor_from_jagged(values, offsets), -1).values()


def softmax_backward(grad: Tensor, y: Tensor, axis: int = -1) -> Tensor:
    """The backward of torch.softmax, as autograd calls it."""
    return torch.ops.aten._softmax_backward_data(grad, y, axis, y.dtype)


def losses(rows: Tensor, targets: Tensor) -> Tensor:
    """torch.nn.functional.cross_entropy of each row; `targets` are int64."""
    return functional.cross_entropy(rows, targets, reduction="none")


def loss_and_gradient(
    logits: Tensor, targets: Tensor, losses_of: Callable[[Tensor, Tensor], Tensor] = losses
) -> tuple[Tensor, Tensor]:
    """The loss of each row, and the gradient of their sum by autograd.

    Args:
        losses_of: in place of `losses`.
    """
    # The rows are the leaf: torch.compile asks its arguments for their gradients.
    rows = logits.detach().reshape(-1, logits.shape[-1]).requires_grad_(True)
    loss = losses_of(rows, targets.reshape(-1).long())
    (gradient,) = torch.autograd.grad(loss.sum(), rows)
    return loss.detach().reshape(targets.shape), gradient.reshape(logits.shape)


def linear_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """torch.nn.functional.linear_cross_entropy of each row: the logits, then cross_entropy."""
    fused = getattr(functional, "linear_cross_entropy", None)
    if fused is None:  # before PyTorch 2.13; by its documentation the same
        return functional.cross_entropy(
            functional.linear(hidden, weight), targets, reduction="none"
        )
    return fused(hidden, weight, targets, reduction="none")


def layer_loss_and_gradients(
    hidden: Tensor, weight: Tensor, targets: Tensor,
    losses_of: Callable[[Tensor, Tensor, Tensor], Tensor] = linear_losses,
    sum_of: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The loss of each row, and the gradients of their sum by autograd.

    Args:
        losses_of: in place of `linear_losses`.
        sum_of: the sum of the losses, where a function of its own gives that.
    """
    rows = hidden.detach().reshape(-1, hidden.shape[-1]).requires_grad_(True)
    weights = weight.detach().requires_grad_(True)
    own = targets.reshape(-1).long()
    loss = losses_of(rows, weights, own)
    total = loss.sum() if sum_of is None else sum_of(rows, weights, own)
    in_rows, in_weights = torch.autograd.grad(total, (rows, weights))
    return loss.detach().reshape(targets.shape), in_rows.reshape(hidden.shape), in_weights
