"""Certified thresholds: where the correctly rounded two-class softmax steps to the next value.

p(d) = 1/(1 + e^−d) with d = a − b is strictly increasing. Its rounding to a format of K + 1
numbers in [0, 1] changes at K points, the log odds of the midpoints, which are transcendental
(Lindemann-Weierstrass): no d of float64 is one of them, and "d > threshold" is "d > the float64
below it". With these, a table look-up decides every pair without error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq
from numpy.typing import DTypeLike, NDArray

from harness.numerics.formats import (
    Float64Array,
    FloatFormat,
    float_format,
    from_ordinal,
    to_ordinal,
)

_BITS = 160
_NEAR = 2.0**-42
BITS = 1 << 16


@dataclass(frozen=True)
class Thresholds:
    """The perfect oracle of the two-class softmax in a 16-bit format.

    Attributes:
        fmt: the format.
        values: (65536,), the number that each bit pattern stands for.
        above: (65536,), by the bits of a computed y: y is correctly rounded iff
            above[y] < d <= upto[y], d = a - b in float64. (+inf, -inf) for bits that are never
            right.
        upto: see `above`.
        floors: (K,), the largest float64 below each threshold, ascending.
    """

    fmt: FloatFormat
    values: Float64Array
    above: Float64Array
    upto: Float64Array
    floors: Float64Array


def float64_below(ball: Any) -> float:
    """The largest float64 below the number that the ball encloses.

    Raises:
        ArithmeticError: the ball does not decide it.
    """
    f = float(ball.mid())
    if arb(f) > ball:
        f = float(np.nextafter(f, -np.inf))
    if not (arb(f) < ball and arb(float(np.nextafter(f, np.inf))) > ball):
        raise ArithmeticError(f"threshold: expected the ball {ball} to lie between two float64")
    return f


def _log_odds(numerator: int, denominator: int) -> Any:
    return (arb(fmpq(numerator, denominator - numerator))).log()


def thresholds(dtype: DTypeLike | FloatFormat) -> Thresholds:
    """The oracle of a 16-bit format, computed in Arb (a fraction of a second).

    Raises:
        TypeError: for a format of another width.
        ArithmeticError: a threshold lies so near a number of the format that a - b, rounded to
            float64, could pass it. (Checked; it happens in neither format.)
    """
    fmt = float_format(dtype)
    if fmt.bits != 16:
        raise TypeError(f"dtype: expected float16 or bfloat16; got {fmt.name}")
    one = int(to_ordinal(np.ones(1), fmt)[0])
    grid = from_ordinal(np.arange(one + 1), fmt).astype(np.float64)
    midpoints = (grid[1:] + grid[:-1]) / 2  # exact in float64
    with ctx.workprec(_BITS):
        floors = np.array([float64_below(_log_odds(*m.as_integer_ratio())) for m in midpoints])
    _check_rounded_differences(floors, fmt)
    values = every_value(fmt)
    above, upto = np.full(BITS, np.inf), np.full(BITS, -np.inf)
    above[: one + 1] = np.concatenate([[-np.inf], floors])
    upto[: one + 1] = np.concatenate([floors, [np.inf]])
    negative_zero = BITS >> 1
    above[negative_zero], upto[negative_zero] = above[0], upto[0]
    return Thresholds(fmt, values, above, upto, floors)


def every_value(fmt: FloatFormat) -> Float64Array:
    """What each of the bit patterns of a format of at most 16 bits stands for."""
    unsigned = np.dtype(f"u{fmt.dtype.itemsize}")
    bits = np.arange(1 << fmt.bits, dtype=np.uint32).astype(unsigned)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return bits.view(fmt.dtype).astype(np.float64)


def finite_values(fmt: FloatFormat) -> NDArray[Any]:
    """All finite numbers of a format of at most 16 bits, ascending, -0 before +0."""
    unsigned = np.dtype(f"u{fmt.dtype.itemsize}")
    top = int(to_ordinal(np.array([fmt.max]), fmt)[0])
    sign = 1 << (fmt.bits - 1)
    magnitudes = np.arange(top + 1)
    bits = np.concatenate([(magnitudes | sign)[::-1], magnitudes]).astype(unsigned)
    return bits.view(fmt.dtype)


def _check_rounded_differences(floors: Float64Array, fmt: FloatFormat) -> None:
    """a - b may round in float64 only where it can pass no threshold.

    With p-bit significands whose exponents differ by at most 53 - p - 1, a - b is exact. Else it
    is within 2**-42 of a or of -b, relatively: no threshold may be so near a number of the format.
    """
    span = 2 * fmt.emax + fmt.precision  # bits from the largest number to the smallest subnormal
    if fmt.emax - fmt.emin + fmt.precision + 1 <= 53 and span <= 60:
        return  # float16: 41 bits hold every difference
    values = np.sort(np.abs(finite_values(fmt).astype(np.float64)))
    size = np.abs(floors)
    place = np.clip(np.searchsorted(values, size), 1, values.size - 1)
    distance = np.minimum(np.abs(size - values[place - 1]), np.abs(size - values[place]))
    if np.any(distance <= _NEAR * size):
        bad = floors[int(np.argmin(distance / size))]
        raise ArithmeticError(
            f"{fmt.name}: the threshold {bad.hex()} is within 2**-42 of a number of the format; "
            "differences need more than float64 there"
        )
