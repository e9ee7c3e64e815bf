"""Two-pass softmax, compiled: the sum as pairs (mantissa, exponent), exponentials again.

Loops, exponential and stores are those of `three_pass_numba` and `online_numba`: what differs is
how often a row is read. Nothing is stored past the caches.
"""

from __future__ import annotations

from implementations._numba.passes import TWO
from implementations._shared.numba_passes import softmax_by
from implementations._shared.numpy_rows import Array

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("numba",),
    "source": "M. Dukhan, A. Ablavatski, Two-pass softmax algorithm, IPDPS workshops 2020, "
    "https://arxiv.org/abs/2001.04438, Algorithm 3",
    "formula": "exp(xᵢ) = pᵢ·2^kᵢ;  K = maxᵢ kᵢ;  yⱼ = (pⱼ / Σᵢ pᵢ·2^(kᵢ−K))·2^(kⱼ−K)",
    "bound": "two_pass",
    "passes": 3,
    "threads": "many",
    "accumulator": "float32",
    "by_name": True,
    "deviations": (),
}


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    return softmax_by(TWO, x, axis, out)
