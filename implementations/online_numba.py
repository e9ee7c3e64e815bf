"""Online softmax, compiled: the sum beside a running maximum, exponentials again.

A block is four vectors. Loops, exponential and stores are those of `three_pass_numba` and
`two_pass_numba`: what differs is how often a row is read. Nothing is stored past the caches.
"""

from __future__ import annotations

from implementations._numba.passes import EAGER
from implementations._shared.numba_passes import softmax_by
from implementations._shared.numpy_rows import Array

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("numba",),
    "source": "M. Milakov, N. Gimelshein, Online normalizer calculation for softmax, 2018, "
    "Algorithm 3, https://arxiv.org/abs/1805.02867",
    "formula": "(m, s) ← (max(m, mᵦ), s·exp(m − max) + Σ exp(xᵦ − max));  yⱼ = exp(xⱼ − m) / s",
    "bound": "online",
    "passes": 3,
    "threads": "many",
    "accumulator": "float32",
    "by_name": True,
    "deviations": (),
}


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    return softmax_by(EAGER, x, axis, out)
