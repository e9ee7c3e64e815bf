"""A polynomial for the exponential: 2**n p(f), of the degree that one chooses.

As FlashAttention-4 computes part of its exponentials, of degree 3, since the processor's unit for
them is the narrow place: x log2(e) is cut into its floor n and what is left, 0 <= f < 1, of which
2**f is a polynomial. The coefficients are least squares of the relative error at Chebyshev nodes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from implementations._shared import attention_blocks
from implementations._shared.numpy_rows import Array, check

IMPLEMENTATION = {
    "backend": "numpy",
    "device": "cpu",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": (),
    "source": "FlashAttention-4, https://github.com/Dao-AILab/flash-attention",
    "formula": "exp(v) = 2ⁿ·Σ cᵢ fⁱ,  n + f = v·log₂ e",
    "bound": "online",
    "threads": "single",
    "accumulator": "float32",
    "parameters": {"degree": (1, 2, 3, 4, 5, 6, 7)},
}


@cache
def _coefficients(degree: int) -> tuple[float, ...]:
    """Of 2**f for f from 0 to 1, the lowest first."""
    nodes = (1.0 - np.cos((np.arange(1024) + 0.5) * np.pi / 1024)) / 2.0
    fit = np.polynomial.Polynomial.fit(nodes, 2.0**nodes, degree, domain=[0, 1], w=2.0**-nodes)
    return tuple(fit.convert().coef.tolist())


@np.errstate(all="ignore")
def _exp(v: Array, degree: int) -> Array:
    kind = v.dtype.type
    t = v * kind(np.log2(np.e))
    n = np.floor(t)
    f = t - n
    p = np.zeros_like(v)
    for c in reversed(_coefficients(degree)):
        p = p * f + kind(c)
    least = kind(-200 if v.dtype == np.float32 else -1100)
    whole = np.clip(np.nan_to_num(n, nan=0.0), least, -least).astype(np.int32)
    found = np.ldexp(p, whole)
    return np.where(np.isinf(v), np.where(v > 0, np.inf, 0), found).astype(v.dtype)


def attention_weights(x: Array, axis: int = -1, *, degree: int = 3) -> Array:
    """Softmax along `axis`, block by block, all exponentials by the polynomial."""
    exponential = lambda v: _exp(v, int(degree))  # noqa: E731
    return attention_blocks.attention_weights(x, axis, exp=exponential)


def exp(x: Array) -> Array:
    """The exponential, of degree 3, so that its error can be measured."""
    x = check(x)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    return _exp(x.astype(wide), 3).astype(x.dtype)
