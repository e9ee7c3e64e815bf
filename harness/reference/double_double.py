"""Double-double arithmetic on NumPy arrays: numbers as unevaluated sums hi + lo of two float64.

Error-free transformations and what is built on them. NumPy rounds after every operation (nothing
is fused), so the classical proofs hold. Relative error bounds, u = 2**-53 and without underflow
or overflow, are those of M. Joldes, J.-M. Muller, V. Popescu, "Tight and rigorous error bounds for
basic building blocks of double-word arithmetic", ACM TOMS 44(2), 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.numerics.formats import Float64Array

Pair = tuple[Float64Array, Float64Array]
Triple = tuple[Float64Array, Float64Array, Float64Array]

U2 = 2.0**-106  # u squared, the unit in which the bounds of this package are given
_SPLITTER = 134217729.0  # 2**27 + 1 (Veltkamp)


def two_sum(a: Any, b: Any) -> Pair:
    """s + e == a + b exactly, s = fl(a + b); any order of magnitudes (Knuth)."""
    s = a + b
    bb = s - a
    e = s - bb
    np.subtract(a, e, out=e)
    np.subtract(b, bb, out=bb)
    e += bb
    return s, e


def quick_two_sum(a: Any, b: Any) -> Pair:
    """As `two_sum`, where abs(a) >= abs(b) or a == 0 (Dekker)."""
    s = a + b
    e = s - a
    np.subtract(b, e, out=e)
    return s, e


def _split(a: Any) -> Pair:
    t = _SPLITTER * a
    hi = t - a
    np.subtract(t, hi, out=hi)
    return hi, a - hi


def two_prod(a: Any, b: Any) -> Pair:
    """p + e == a * b exactly, for magnitudes below 2**990 and products above 2**-960 (Dekker)."""
    p = a * b
    ah, al = _split(a)
    bh, bl = _split(b)
    e = ah * bh - p
    e += ah * bl
    e += al * bh
    e += al * bl
    return p, e


def add(a: Pair, b: Pair) -> Pair:
    """Relative error 3u^2 for any signs (AccurateDWPlusDW)."""
    sh, sl = two_sum(a[0], b[0])
    th, tl = two_sum(a[1], b[1])
    sl += th
    sh, sl = quick_two_sum(sh, sl)
    sl += tl
    return quick_two_sum(sh, sl)


def add_same_sign(a: Pair, b: Pair) -> Pair:
    """Relative error 3u^2 where both have one sign (SloppyDWPlusDW)."""
    sh, sl = two_sum(a[0], b[0])
    sl += a[1] + b[1]
    return quick_two_sum(sh, sl)


def add_double(a: Pair, b: Any) -> Pair:
    """Relative error 2u^2 (DWPlusFP)."""
    sh, sl = two_sum(a[0], b)
    sl += a[1]
    return quick_two_sum(sh, sl)


def multiply(a: Pair, b: Pair) -> Pair:
    """Relative error 7u^2 (DWTimesDW1, which needs no fused multiply-add)."""
    p, e = two_prod(a[0], b[0])
    t = a[0] * b[1]
    t += a[1] * b[0]
    e += t
    return quick_two_sum(p, e)


def multiply_double(a: Pair, b: Any) -> Pair:
    """Relative error 3u^2 (DWTimesFP2)."""
    p, e = two_prod(a[0], b)
    e += a[1] * b
    return quick_two_sum(p, e)


def divide(a: Pair, b: Pair) -> Pair:
    """Relative error 15u^2 + O(u^3) (DWDivDW2)."""
    q = a[0] / b[0]
    rh, rl = multiply_double(b, q)
    ph = a[0] - rh
    t = (ph + (a[1] - rl)) / b[0]
    return quick_two_sum(q, t)


def sum_rows(hi: Float64Array, lo: Float64Array) -> Pair:
    """The pairwise sums along the last axis of non-negative numbers; the arguments are overwritten.

    Relative error 3 * ceil(log2(n)) * u^2. Shape (rows, n), n >= 1, gives shape (rows,).
    """
    n = hi.shape[-1]
    while n > 1:
        half = (n + 1) // 2
        rest = n - half
        a = (hi[..., :rest], lo[..., :rest])
        hi[..., :rest], lo[..., :rest] = add_same_sign(a, (hi[..., half:n], lo[..., half:n]))
        n = half
    return hi[..., 0].copy(), lo[..., 0].copy()


def power_of_two(exponent: NDArray[np.int64]) -> Float64Array:
    """2.0**exponent for integers of [-1022, 1023], through the bits (ldexp is far slower)."""
    bits = (exponent + 1023) << 52
    return bits.view(np.float64)


def pair_of_integer_ratio(numerator: int, denominator: int) -> tuple[float, float]:
    """numerator / denominator as hi + lo, each correctly rounded (Python's int / int is)."""
    hi = numerator / denominator
    hi_numerator, hi_denominator = hi.as_integer_ratio()
    rest = numerator * hi_denominator - hi_numerator * denominator
    return hi, rest / (denominator * hi_denominator)
