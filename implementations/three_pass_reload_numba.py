"""Three-pass softmax, compiled: maximum, exponentials stored and summed, loaded again and scaled.

Loops and exponential are those of `three_pass_numba`, which computes exponentials twice: what
differs is how often a row is read and written. Nothing is stored past the caches.
"""

from __future__ import annotations

from implementations._numba.passes import RELOAD
from implementations._shared.numba_passes import softmax_by
from implementations._shared.numpy_rows import Array

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("numba",),
    "source": "M. Dukhan, A. Ablavatski, Two-pass softmax algorithm, IPDPS workshops 2020, "
    "https://arxiv.org/abs/2001.04438, Algorithm 2",
    "formula": "m = maxᵢ xᵢ;  eᵢ = exp(xᵢ − m);  s = Σᵢ eᵢ;  yⱼ = eⱼ / s",
    "bound": "two_pass",
    "passes": 5,
    "threads": "many",
    "accumulator": "float32",
    "by_name": True,
    "deviations": (),
}


def softmax(x: Array, axis: int = -1, out: Array | None = None) -> Array:
    """Softmax along `axis`."""
    return softmax_by(RELOAD, x, axis, out)
