"""Vocabulary-parallel softmax on torch.distributed: the classes are divided among processes.

As large models keep their output layer. This process is the first rank; the others, as many as the
variable SOFTMAX_RANKS says less one (1 to 4, 2 by default), are started at the first call, wait
between calls and end with this process. They talk over the loopback by gloo: each call is one
all-gather of a few numbers a row. Logits and results are in shared memory: what is measured is
the division of the sum, and no speed that a cluster would have.

A rank that ends makes the call raise, at once where it was killed and within SOFTMAX_RANKS_TIMEOUT
seconds (20) where it hangs; the next call starts new ranks. A forked child of a process with ranks
gets an exception. The functions of one rank, for any backend, are
`implementations._vocab_parallel.sharded`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from implementations._vocab_parallel.team import Team

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch",),
    "source": "M. Shoeybi et al., Megatron-LM, 2019, section 3, https://arxiv.org/abs/1909.08053",
    "formula": "m = maxᵣ mᵣ,  s = Σᵣ sᵣ·exp(mᵣ − m);  yⱼ = exp(xⱼ − m) / s",
    "bound": "online",
    "accumulator": "float32",
    "threads": "many",
    "by_name": True,
}

team = Team("implementations._vocab_parallel.work:VocabParallel")


def softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """exp(x - max) / sum, both of all ranks."""
    return _along("softmax", x, axis, out)


def log_softmax(x: Tensor, axis: int = -1, out: Tensor | None = None) -> Tensor:
    """(x - max) - log1p(sum - 1), both of all ranks."""
    return _along("log_softmax", x, axis, out)


def logsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """max + log1p(sum - 1), both of all ranks."""
    moved = x.movedim(axis, -1)
    (found,) = team.call("logsumexp", moved)
    return found.view(moved.shape[:-1])


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each row, and the gradient of their sum, accurate at saturation."""
    return team.loss_and_gradient(logits, targets)


def _along(operation: str, x: Tensor, axis: int, out: Tensor | None) -> Tensor:
    if out is None:
        out = torch.empty(x.shape, dtype=x.dtype)
    elif out.shape != x.shape or out.dtype != x.dtype:
        raise ValueError(
            f"out: expected shape {tuple(x.shape)} and dtype {x.dtype}; "
            f"got {tuple(out.shape)} and {out.dtype}"
        )
    team.call(operation, x.movedim(axis, -1), result=out.movedim(axis, -1))
    return out
