"""tinygrad's softmax on the CPU, compiled by clang.

The peer of small frameworks: every operation is made of a few primitives, which are fused into
loops and compiled anew for every shape and axis. Exponentials are its own series for exp2. It
divides by multiplying with the reciprocal of the sum, and works in the format that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ == "tinygrad":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "tinygrad: found implementations/tinygrad.py in place of the package; "
        "start Python in another directory, or with -P"
    )

from tinygrad import Tensor as _Tensor

if TYPE_CHECKING:
    from tinygrad import Tensor

IMPLEMENTATION = {
    "backend": "tinygrad",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("tinygrad",),
    "programs": ("clang",),
    "source": "https://docs.tinygrad.org/tensor/ops/#tinygrad.Tensor.softmax",
    "formula": "yⱼ = exp(xⱼ − m) · (1 / Σᵢ exp(xᵢ − m)),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "by_name": True,
}


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Tensor.softmax(axis)."""
    return x.softmax(axis).realize()


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Tensor.log_softmax(axis)."""
    return x.log_softmax(axis).realize()


def logsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """Tensor.logsumexp(axis)."""
    return x.logsumexp(axis).realize()


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Tensor.sparse_categorical_crossentropy of each row, and Tensor.gradient of their sum."""
    loss = logits.sparse_categorical_crossentropy(targets, reduction="none")
    (gradient,) = loss.sum().gradient(logits)
    _Tensor.realize(loss, gradient)
    return loss, gradient
