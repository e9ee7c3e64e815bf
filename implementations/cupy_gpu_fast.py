"""The kernels of cupy_gpu with the GPU's own approximate exponential, ex2.approx.

Two instructions in place of some twelve: its error grows with the distance from the maximum, and
is 2 ulp at best. For 16-bit formats it hides below the rounding of the result; float64 has no such
instruction. Everything else is that of cupy_gpu.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from implementations._cuda import operations

if TYPE_CHECKING:
    from cupy import ndarray

IMPLEMENTATION = {
    "backend": "cupy",
    "device": "cuda",
    "dtypes": ("float32", "float16", "bfloat16"),
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
    "source": "our own; ex2.approx: NVIDIA, Parallel Thread Execution ISA, "
    "https://docs.nvidia.com/cuda/parallel-thread-execution/",
    "formula": "yⱼ = 2^(xⱼ·log₂e − K) / Σᵢ 2^(xᵢ·log₂e − K),  K = ⌊m·log₂e⌉,  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "passes": 2,
    "threads": "many",
    "accumulator": "float32",
    "deviations": (
        {
            "id": "last-bit",
            "reason": "where a row begins, and how many there are, decides what is added first",
        },
    ),
}

_FORMATS = ("float32", "float16")


def softmax(x: ndarray, axis: int = -1, out: ndarray | None = None) -> ndarray:
    """Softmax along `axis`."""
    return operations.elementwise("Softmax", True, x, axis, out, _FORMATS)


def log_softmax(x: ndarray, axis: int = -1, out: ndarray | None = None) -> ndarray:
    """(x - max) - log1p(sum of all but one maximum), along `axis`."""
    return operations.elementwise("LogSoftmax", True, x, axis, out, _FORMATS)


def logsumexp(x: ndarray, axis: int = -1) -> ndarray:
    """max + log1p(sum of all but one maximum): reads the logits and nothing else."""
    return operations.logsumexp(True, x, axis, _FORMATS)


def cross_entropy(logits: ndarray, targets: ndarray) -> tuple[ndarray, ndarray]:
    """Loss of each row and its gradient p - y in one kernel; NaN for a target that is no class."""
    return operations.cross_entropy(True, logits, targets, _FORMATS)


def cross_entropy_loss(logits: ndarray, targets: ndarray) -> ndarray:
    """The loss alone: reads the logits and nothing else."""
    loss: Any = operations.cross_entropy(True, logits, targets, _FORMATS, gradient=False)[0]
    return loss


def exp(x: ndarray) -> ndarray:
    """The exponential of the kernels, elementwise, so that its error can be measured."""
    return operations.exponential(True, x, _FORMATS)
