"""The error in units in the last place, against the unrounded exact value.

Every other error measure is built on this one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from harness.numerics.exact import Exact
from harness.numerics.formats import (
    Float64Array,
    FloatFormat,
    float_format,
    scale_by_power,
    to_float64,
)

LARGEST = float(np.finfo(np.float64).max)
"""Finite errors saturate here, so that infinity always means a non-finite value."""


def _checked(
    computed: ArrayLike, exact: Exact, fmt: DTypeLike | FloatFormat | None
) -> tuple[Float64Array, FloatFormat]:
    array = np.asarray(computed)
    if array.shape != exact.shape:
        raise ValueError(f"computed: expected the shape {exact.shape} of exact, got {array.shape}")
    return to_float64(array), float_format(array.dtype if fmt is None else fmt)


def signed_ulp_error(
    computed: ArrayLike, exact: Exact, fmt: DTypeLike | FloatFormat | None = None
) -> Float64Array:
    """(computed - exact) / ulp(exact), elementwise, ulp being that of `fmt` at the exact value.

    ulp(y) = 2**(max(floor(log2 abs(y)), emin) - p + 1): flat in the subnormal range and at zero
    (J.-M. Muller, "On the definition of ulp(x)", INRIA RR-5504, 2005). The exact value stays
    unrounded, so a correctly rounded result has an error of at most 0.5, known to about 1e-13.

    Args:
        computed: array of any format of `formats.FORMATS`.
        exact: the exact values, of the same shape.
        fmt: format whose ulp is the unit; by default that of `computed`.

    Returns:
        float64, of the same shape. Two NaN, or the same infinity twice, differ by 0; so does an
        infinity where the exact value rounds to that infinity in `fmt`. One NaN gives +inf; an
        infinity where another value is due, or the reverse, an infinity of the sign of the
        difference. Finite errors beyond the range of float64 saturate at its largest number.

    Raises:
        TypeError: for a dtype that is no format. ValueError: for unequal shapes.
    """
    c, fmt = _checked(computed, exact, fmt)
    q, hi, lo = exact.in_ulps(fmt)
    with np.errstate(invalid="ignore", over="ignore"):
        # The scaled hi and computed values are integers below 2**53 (or exact to float64's own
        # ulp), and their difference is exact where they are close: only lo rounds.
        error = (scale_by_power(c, -q) - hi) - lo
        np.clip(error, -LARGEST, LARGEST, out=error)
        odd = ~(np.isfinite(c) & np.isfinite(exact.hi))
        if np.any(odd):
            error[odd] = _non_finite_error(c[odd], exact[odd], fmt)
    return np.asarray(error, dtype=np.float64)


def _non_finite_error(c: Float64Array, exact: Exact, fmt: FloatFormat) -> Float64Array:
    expected = to_float64(exact.round_to(fmt))
    same = (c == expected) | (np.isnan(c) & np.isnan(exact.hi))
    unlike = np.where(np.isnan(c) | np.isnan(exact.hi), np.inf, np.sign(c - expected) * np.inf)
    # An infinity against an infinity that is only the rounding of a finite value, or opposite
    # infinities: c - expected has a sign in both cases.
    return np.where(same, 0.0, unlike)


def ulp_error(
    computed: ArrayLike, exact: Exact, fmt: DTypeLike | FloatFormat | None = None
) -> Float64Array:
    """abs(computed - exact) / ulp(exact), elementwise; see `signed_ulp_error`."""
    return np.abs(signed_ulp_error(computed, exact, fmt))


def wrong_threshold(fmt: DTypeLike | FloatFormat) -> float:
    """The ulp error from which a result is *wrong*: 2**(p - 1), no bit of it is right.

    A zero in place of a normal number is at least so far off (its relative error is 1); in place
    of a subnormal one it is nearer.
    """
    return float(2.0 ** (float_format(fmt).precision - 1))
