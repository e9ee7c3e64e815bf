"""PyTorch's own vocabulary-parallel cross-entropy: loss_parallel on a DTensor.

The classes are divided among processes as in `torch_vocab_parallel`, whose variables and team these
are: chunks of one size, rounded up, as DTensor divides. A call is three all-reduces. Where that
leaves a rank without a class (6 classes among 4 ranks) a call raises, since loss_parallel of
PyTorch 2.13 fails there.

loss_parallel needs the default process group of each process, this one among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from implementations._vocab_parallel.team import Team

if TYPE_CHECKING:
    from torch import Tensor

IMPLEMENTATION = {
    "backend": "torch",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("torch",),
    "source": "https://docs.pytorch.org/docs/stable/distributed.tensor.parallel.html"
    "#torch.distributed.tensor.parallel.loss_parallel",
    "formula": "m = maxᵣ mᵣ,  s = Σᵣ Σᵢ exp(xᵢ − m);  loss = log s − (xₜ − m)",
    "bound": "log_sum_exp_shifted_difference",
    "threads": "many",
    "by_name": True,
    "deviations": (
        {"id": "gradient", "reason": "the gradient at the target is p - 1, rounded"},
        {"id": "saturation", "reason": "the loss is 0 where the probability is near 1"},
    ),
}

team = Team("implementations._vocab_parallel.loss_parallel:LossParallel")


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """torch.nn.functional.cross_entropy per row under loss_parallel, and its gradient."""
    return team.loss_and_gradient(logits, targets)
