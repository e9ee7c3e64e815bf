"""paddle.nn.functional.softmax on the CPU, eager.

The peer of models that were built on PaddlePaddle. Its kernels for CPUs take float32 and float64
alone; those of oneDNN are in its wheel, and are not used unless a flag asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ == "paddle":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "paddle: found implementations/paddle.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import paddle

if TYPE_CHECKING:
    from paddle import Tensor

IMPLEMENTATION = {
    "backend": "paddle",
    "device": "cpu",
    "dtypes": ("float64", "float32"),
    "requires": ("paddle",),
    "source": "https://www.paddlepaddle.org.cn/documentation/docs/en/api/paddle/nn/functional/"
    "softmax_en.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "by_name": True,
}


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """paddle.nn.functional.softmax(x, axis)."""
    return paddle.nn.functional.softmax(x, axis)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """paddle.nn.functional.log_softmax(x, axis)."""
    return paddle.nn.functional.log_softmax(x, axis)


def logsumexp(x: Tensor, axis: int = -1) -> Tensor:
    """paddle.logsumexp(x, axis)."""
    return paddle.logsumexp(x, axis)


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """paddle.nn.functional.cross_entropy of each row, and paddle.grad of their sum."""
    x = logits.detach()
    x.stop_gradient = False
    loss = paddle.nn.functional.cross_entropy(x, targets, reduction="none")
    (gradient,) = paddle.grad(loss.sum(), [x])
    return loss.detach().reshape(targets.shape), gradient
