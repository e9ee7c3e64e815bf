"""mlx.core.softmax on the CPU.

The peer of models on Apple's machines, in the build for the CPUs of Linux: its own vectors, one
thread. It computes when a result is asked for, which each call does. What is made of several of its
operations (log_softmax and cross_entropy) it compiles with g++ at the first call for a format and a
layout, in seconds, and keeps in the folder of temporary files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ == "mlx":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "mlx: found implementations/mlx.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import mlx.core as mx
from mlx import nn

if TYPE_CHECKING:
    from mlx.core import array as Array

IMPLEMENTATION = {
    "backend": "mlx",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("mlx.core",),
    "programs": ("g++",),
    "source": "https://ml-explore.github.io/mlx/build/html/python/_autosummary/"
    "mlx.core.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "single",
    "by_name": True,
}


def softmax(x: Array, axis: int = -1) -> Array:
    """mlx.core.softmax(x, axis)."""
    y = mx.softmax(x, axis)
    mx.eval(y)
    return y


def log_softmax(x: Array, axis: int = -1) -> Array:
    """mlx.nn.log_softmax(x, axis)."""
    y = nn.log_softmax(x, axis)
    mx.eval(y)
    return y


def logsumexp(x: Array, axis: int = -1) -> Array:
    """mlx.core.logsumexp(x, axis)."""
    y = mx.logsumexp(x, axis)
    mx.eval(y)
    return y


def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """mlx.nn.losses.cross_entropy of each row, and mlx.core.vjp with ones."""
    (loss,), (gradient,) = mx.vjp(
        lambda x: nn.losses.cross_entropy(x, targets),
        [logits],
        [mx.ones(targets.shape, logits.dtype)],
    )
    mx.eval(loss, gradient)
    return loss, gradient
