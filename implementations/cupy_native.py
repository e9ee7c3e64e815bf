"""cupyx.scipy.special.softmax on an NVIDIA GPU, as CuPy ships it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cupyx.scipy import special

if TYPE_CHECKING:
    from cupy import ndarray

IMPLEMENTATION = {
    "backend": "cupy",
    "device": "cuda",
    "dtypes": ("float64", "float32", "float16"),
    "requires": ("cupy",),
    "source": "https://docs.cupy.dev/en/stable/reference/generated/"
    "cupyx.scipy.special.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "generic",
    "threads": "many",
    "deviations": (),
}


def softmax(x: ndarray, axis: int = -1) -> ndarray:
    """cupyx.scipy.special.softmax(x, axis)."""
    return special.softmax(x, axis=axis)


def log_softmax(x: ndarray, axis: int = -1) -> ndarray:
    """cupyx.scipy.special.log_softmax(x, axis)."""
    return special.log_softmax(x, axis=axis)
