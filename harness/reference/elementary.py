"""exp and log in double-double, with a-priori error bounds: the fast filter's two functions.

exp(d) = 2**k * 2**(j/1024) * exp(r), with abs(r) < 2**-11.4; a table of 1024 double-doubles and
the Taylor series of exp(r) - 1 to degree 8. In units of u^2 = 2**-106:

- reduction: d - N*ln(2)/1024 has absolute error below 2**-114 (see `_reduce`);
- series: truncation below 2**-120; the terms of degree 5 to 8 in double give 2**-114; the
  double-double ones give at most 20 u^2 * abs(r) < 2**-112;
- table: 1 u^2; the product with exp(r) - 1: 7 u^2 * 2**-11.3; the sum: 3 u^2.

In all less than 4.2 u^2; `EXP_BOUND` claims 8 u^2.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.numerics.formats import Float64Array
from harness.reference.double_double import (
    U2,
    Pair,
    add,
    add_double,
    add_same_sign,
    divide,
    multiply,
    pair_of_integer_ratio,
    power_of_two,
    quick_two_sum,
    two_sum,
)

EXP_RANGE: Final = 2.0**19
"""exp takes arguments of [-EXP_RANGE, EXP_RANGE]."""

EXP_BOUND: Final = 8 * U2
"""Relative error of `exp`."""

LOG_BOUND: Final = 160 * U2
"""Relative error of `log_count_plus` for an exact argument."""

_STEPS = 1024
_LN2_BITS = 320
# floor(ln(2) * 2**320), held against mpmath and against Arb in the tests.
_LN2 = 0xB17217F7D1CF79ABC9E3B39803F2F6AF40F343267298B62D8A0D175B8BAAFA2BE7B876206DEBAC98


def _ln2_parts() -> tuple[float, ...]:
    """ln(2)/1024 as four numbers of 22 bits and one of 53; N times the former is exact."""
    parts = []
    rest = _LN2
    scale = _LN2_BITS + 10
    lsb = scale - 32  # the first part: bits 2**-11 to 2**-32
    for _ in range(4):
        head = (rest >> lsb) << lsb
        parts.append(head / (1 << scale))
        rest -= head
        lsb -= 22
    parts.append(rest / (1 << scale))
    return tuple(parts)


def _power_table() -> Pair:
    """2**(j/1024) for j = 0..1023, each to 1 u^2, by integer square roots."""
    bits = 256
    root = 2 << bits
    for _ in range(10):
        root = isqrt(root << bits)  # below 2**(1/2**i) by less than 2**-254
    hi, lo = [], []
    value = 1 << bits
    for _ in range(_STEPS):
        h, low = pair_of_integer_ratio(value, 1 << bits)
        hi.append(h)
        lo.append(low)
        value = (value * root) >> bits  # 1024 steps lose less than 13 bits of 256
    return np.array(hi), np.array(lo)


_C1, _C2, _C3, _C4, _C5 = _ln2_parts()
_TABLE_HI, _TABLE_LO = _power_table()
_STEPS_PER_UNIT = (_STEPS << _LN2_BITS) / _LN2
_SIXTH = pair_of_integer_ratio(1, 6)
_TWENTY_FOURTH = pair_of_integer_ratio(1, 24)


def _reduce(hi: Float64Array, lo: Float64Array) -> tuple[Float64Array, Pair]:
    """N and r = (hi + lo) - N*ln(2)/1024, abs(r) < 2**-11.4, absolute error below 2**-114.

    N has at most 30 bits, so the products with the 22-bit parts are exact. With 2**e <= abs(hi):
    hi - N*c1 is a multiple of 2**(e-52) below 2**(e+1), and (hi - N*c1) - N*c2 a multiple of
    2**-54 or of 2**(e-52) below 2**53 times it: both differences are exact.
    """
    n = np.rint(hi * _STEPS_PER_UNIT)
    t = hi - n * _C1
    t -= n * _C2
    a, e1 = two_sum(t, n * -_C3)
    a, e2 = two_sum(a, lo)
    a, e3 = two_sum(a, n * -_C4)
    e1 += e2
    e1 += e3
    e1 -= n * _C5
    return n, two_sum(a, e1)


def _expm1_series(r: Pair) -> Pair:
    """exp(r) - 1 for abs(r) < 2**-11.4, absolute error below 2**-111."""
    x = r[0]
    t = x * (1 / 40320)
    t += 1 / 5040
    t *= x
    t += 1 / 720
    t *= x
    t += 1 / 120
    t *= x
    t += _TWENTY_FOURTH[1]
    p = quick_two_sum(np.full_like(x, _TWENTY_FOURTH[0]), t)  # 1/24 + r/120 + ...
    p = multiply(p, r)
    s, e = quick_two_sum(np.full_like(x, _SIXTH[0]), p[0])
    e += p[1]
    e += _SIXTH[1]
    p = multiply((s, e), r)
    s, e = quick_two_sum(np.full_like(x, 0.5), p[0])
    e += p[1]
    p = multiply(multiply((s, e), r), r)
    s, e = two_sum(x, p[0])
    e += r[1]
    e += p[1]
    return quick_two_sum(s, e)


def exp(hi: Float64Array, lo: Float64Array) -> tuple[Float64Array, Float64Array, NDArray[np.int64]]:
    """exp(hi + lo) as (mantissa hi, mantissa lo, binary exponent), mantissas of [0.99, 2.01).

    Relative error at most `EXP_BOUND` for abs(hi) <= EXP_RANGE, abs(lo) <= ulp(hi)/2.
    """
    n, r = _reduce(hi, lo)
    steps = n.astype(np.int64)
    index = steps & (_STEPS - 1)
    table = (_TABLE_HI[index], _TABLE_LO[index])
    q = multiply(table, _expm1_series(r))
    s, e = quick_two_sum(table[0], q[0])
    e += table[1] + q[1]
    mantissa_hi, mantissa_lo = quick_two_sum(s, e)
    return mantissa_hi, mantissa_lo, steps >> 10


_ATANH = [pair_of_integer_ratio(1, 2 * j + 1) for j in range(19)]


def _log1p_series(r: Pair) -> Pair:
    """log(1 + r) for 0 <= r <= 1/4 as 2*atanh(r/(2 + r)): relative error below 40 u^2.

    z <= 1/9: the truncation is below z**38/39 < 2**-125. Each Horner step adds at most
    11 u^2 * z^2 relative to a sum near 1: in all 12 u^2 * 1.02 / 81 + 3; the division (17) and
    the last product (7) dominate.
    """
    z = divide(r, add_double(r, 2.0))
    z2 = multiply(z, z)
    shape = r[0].shape
    total = (np.full(shape, _ATANH[-1][0]), np.full(shape, _ATANH[-1][1]))
    for hi, lo in reversed(_ATANH[:-1]):
        total = add_same_sign(multiply(total, z2), (np.full(shape, hi), np.full(shape, lo)))
    result = multiply(total, z)
    return 2.0 * result[0], 2.0 * result[1]


def _log_newton(s: Pair) -> Pair:
    """log(s) for s >= 1.25: y + log(s * exp(-y)), y = fl(log(s)); relative error below 110 u^2.

    s * exp(-y) - 1 = z is below 2**-45 with absolute error (8 + 7) u^2; log(1 + z) = z - z^2/2
    to 2**-130. Relative to log(1.25) > 0.22: 69 u^2, and the two additions.
    """
    y = np.log(s[0])
    eh, el, k = exp(-y, np.zeros_like(y))
    scale = power_of_two(k)
    vh, vl = multiply(s, (eh * scale, el * scale))
    z = quick_two_sum(vh - 1.0, vl)
    return add((y, np.zeros_like(y)), add_double(z, -0.5 * z[0] * z[0]))


def log_count_plus(count: Float64Array, r: Pair) -> Pair:
    """log(count + r), for integers count >= 1 and r >= 0 of at least 2**-450 (or 0).

    Relative error at most `LOG_BOUND`, also where count = 1 and r is small.
    """
    small = (count == 1.0) & (r[0] < 0.25)
    safe_r = (np.where(small, r[0], 0.0), np.where(small, r[1], 0.0))
    series = _log1p_series(safe_r)
    s = add_double(r, count)
    newton = _log_newton((np.where(small, 2.0, s[0]), np.where(small, 0.0, s[1])))
    return np.where(small, series[0], newton[0]), np.where(small, series[1], newton[1])
