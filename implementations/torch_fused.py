"""PyTorch's fused operations on the CPU: attention's own softmax, and chunked linear cross-entropy.

The softmax within scaled_dot_product_attention is isolated: with the identity for keys and values
the scores are the logits and the result the weights, each product by 1 and sum with 0 exact. A
logit that is no finite number would make its whole row NaN by the products with 0: -inf is passed
as what is added to the scores, and so is a mask with all its logits.

linear_cross_entropy takes the rows in chunks, with gradients made in the forward pass.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

with warnings.catch_warnings():  # torch's own modules use what torch deprecates
    warnings.simplefilter("ignore")
    import torch
    from torch.nn import LinearCrossEntropyOptions, functional
    from torch.nn.attention import SDPBackend, sdpa_kernel

from implementations._shared import torch_operations as operations

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch",),
    "source": "https://docs.pytorch.org/docs/stable/generated/"
    "torch.nn.functional.scaled_dot_product_attention.html",
    "formula": "yⱼ = exp(c·xⱼ − m) / Σᵢ exp(c·xᵢ − m),  m = maxᵢ c·xᵢ, block by block",
    "bound": "online",
    "threads": "many",
    "deviations": (
        {"id": "flushes", "reason": "attention's exponential is 0 below about exp(-87.3)"},
    ),
}

CHUNK = 3
"""Rows of a chunk: few, so that small layers have several."""


def _attention(scores: Tensor, bias: Tensor | None, values: Tensor, scale: float) -> Tensor:
    """The flash kernel of the CPU, and no other: (rows, classes) of each."""
    keys = torch.eye(len(values), scores.shape[-1], dtype=scores.dtype)
    four = [None if a is None else a[None, None] for a in (scores, keys, values, bias)]
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        found = functional.scaled_dot_product_attention(
            four[0], four[1], four[2], attn_mask=four[3], scale=scale
        )
    return found[0, 0]


def _of_rows(x: Tensor, axis: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    moved = x.movedim(axis, -1)
    rows = moved.reshape(-1, moved.shape[-1]).contiguous()
    return rows, torch.eye(rows.shape[-1], dtype=x.dtype), tuple(moved.shape)


def scaled_softmax(x: Tensor, scale: float, axis: int = -1) -> Tensor:
    """The weights of attention with logits for queries and the identity for keys and values."""
    rows, identity, shape = _of_rows(x, axis)
    bias, absent = None, rows == -torch.inf
    if absent.any():  # in the bias, as who masks puts them
        bias = torch.zeros_like(rows).masked_fill(absent, -torch.inf)
        rows = rows.masked_fill(absent, 0.0)
    return _attention(rows, bias, identity, scale).reshape(shape).movedim(-1, axis)


def masked_softmax(x: Tensor, mask: Tensor, axis: int = -1) -> Tensor:
    """The weights of attention whose scores are 0 and whose bias is the logits, -inf if masked."""
    rows, identity, shape = _of_rows(x.masked_fill(~mask, -torch.inf), axis)
    found = _attention(torch.zeros_like(rows), rows, identity, 1.0)
    return found.reshape(shape).movedim(-1, axis)


def attention_weights(x: Tensor, axis: int = -1) -> Tensor:
    """The weights of attention whose scores are 0 and whose bias is the logits."""
    rows, identity, shape = _of_rows(x, axis)
    found = _attention(torch.zeros_like(rows), rows, identity, 1.0)
    return found.reshape(shape).movedim(-1, axis)


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """torch.nn.functional.linear_cross_entropy in chunks of rows, with its default policy."""
    options = LinearCrossEntropyOptions(batch_chunk_size=CHUNK, chunking_method=None)

    def losses(h: Tensor, w: Tensor, t: Tensor, reduction: str = "none") -> Tensor:
        return functional.linear_cross_entropy(h, w, t, reduction=reduction, options=options)

    return operations.layer_loss_and_gradients(
        hidden, weight, targets, losses, lambda h, w, t: losses(h, w, t, "sum")
    )
