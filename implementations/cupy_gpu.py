"""Our own CUDA kernels for NVIDIA GPUs, compiled by NVRTC through CuPy.

By class count (_cuda/rows.cu): several lanes of a warp or a whole one hold a row in registers, then
a block, then a cluster of blocks in registers and shared memory; rows beyond that, and a few long
ones, are split over blocks in two launches. Not x - max is reduced for the exponential but x
itself, and the maximum's power of two is taken off the exponent, which is exact: the error does
not grow with the distance from the maximum, and parts of a row are joined without one. Sums are
in float32 (float64 for float64), results are rounded once. Two passes over memory; three where a
row is split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from implementations._cuda import operations

if TYPE_CHECKING:
    from cupy import ndarray

IMPLEMENTATION = {
    "backend": "cupy",
    "device": "cuda",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("cupy",),
    "files": (
        "_cuda/rows.cu",
        "_cuda/formats.cuh",
        "_cuda/exchange.cuh",
        "_cuda/operations.cuh",
        "_cuda/views.cuh",
        "_cuda/lanes.cuh",
        "_cuda/held.cuh",
        "_cuda/parts.cuh",
    ),
    "source": "M. Dukhan, A. Ablavatski, Two-pass softmax algorithm, IPDPS workshops 2020, "
    "https://arxiv.org/abs/2001.04438, with the maximum known beforehand",
    "formula": "exp(xᵢ) = pᵢ·2^kᵢ;  K = k of maxᵢ xᵢ;  yⱼ = pⱼ·2^(kⱼ−K) / Σᵢ pᵢ·2^(kᵢ−K)",
    "bound": "two_pass",
    "passes": 2,
    "threads": "many",
    "accumulator": "float32",
    "deviations": (
        {
            "id": "order",
            "reason": "one ulp out of order where the reduction changes its power of two",
        },
        {
            "id": "last-bit",
            "reason": "where a row begins, and how many there are, decides what is added first",
        },
    ),
}


def softmax(x: ndarray, axis: int = -1, out: ndarray | None = None) -> ndarray:
    """Softmax along `axis`."""
    return operations.elementwise("Softmax", False, x, axis, out)


def log_softmax(x: ndarray, axis: int = -1, out: ndarray | None = None) -> ndarray:
    """(x - max) - log1p(sum of all but one maximum), along `axis`."""
    return operations.elementwise("LogSoftmax", False, x, axis, out)


def logsumexp(x: ndarray, axis: int = -1) -> ndarray:
    """max + log1p(sum of all but one maximum): reads the logits and nothing else."""
    return operations.logsumexp(False, x, axis)


def softmax_backward(grad: ndarray, y: ndarray, axis: int = -1) -> ndarray:
    """y * (grad - sum(grad * y)) along `axis`."""
    return operations.softmax_backward(grad, y, axis)


def cross_entropy(logits: ndarray, targets: ndarray) -> tuple[ndarray, ndarray]:
    """Loss of each row and its gradient p - y in one kernel, accurate at saturation.

    A target that is no class makes its row NaN.
    """
    return operations.cross_entropy(False, logits, targets)


def cross_entropy_loss(logits: ndarray, targets: ndarray) -> ndarray:
    """The loss alone: reads the logits and nothing else."""
    loss: Any = operations.cross_entropy(False, logits, targets, gradient=False)[0]
    return loss


def exp(x: ndarray) -> ndarray:
    """The exponential of the kernels, elementwise, so that its error can be measured."""
    return operations.exponential(False, x)
