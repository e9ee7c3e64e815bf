"""scipy.special.softmax, as SciPy ships it.

The peer of the NumPy world. It works in the dtype that it is given, so that 16-bit sums are
NumPy's 16-bit sums, and along the axis as it lies in memory.
"""

from __future__ import annotations

if __name__ == "scipy":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "scipy: found implementations/scipy.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import numpy as np
from scipy import special

from implementations._shared.numpy_rows import Array, check

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16"),
    "requires": ("scipy",),
    "source": "https://docs.scipy.org/doc/scipy/reference/generated/scipy.special.softmax.html",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "passes": 8,
    "threads": "single",
    "deviations": (
        {"id": "strided-sum", "reason": "NumPy sums one by one along an axis that is not last"},
        {"id": "float16-sum", "reason": "a float16 sum overflows beyond 65504 equal classes"},
        {"id": "order", "reason": "NumPy's float32 exp inverts a few neighbouring arguments"},
        {"id": "saturation", "reason": "log_softmax is 0 where the probability is near 1"},
        {"id": "log-inf", "reason": "log_softmax of a row with +inf is NaN only at that entry"},
    ),
}


@np.errstate(all="ignore")
def softmax(x: Array, axis: int = -1) -> Array:
    """scipy.special.softmax(x, axis)."""
    return np.asarray(special.softmax(check(x), axis=axis))


@np.errstate(all="ignore")
def log_softmax(x: Array, axis: int = -1) -> Array:
    """scipy.special.log_softmax(x, axis)."""
    return np.asarray(special.log_softmax(check(x), axis=axis))


@np.errstate(all="ignore")
def logsumexp(x: Array, axis: int = -1) -> Array:
    """scipy.special.logsumexp(x, axis)."""
    return np.asarray(special.logsumexp(check(x), axis=axis))
