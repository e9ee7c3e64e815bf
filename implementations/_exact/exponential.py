"""The exponentials of `numba_exact`, in eight lanes, and what finishes a result.

Both write d = k ln(2)/16 + r with abs(r) <= ln(2)/32 and k = 16 n + j, so that
exp(d) = 2**n * 2**(j/16) * exp(r): a table of sixteen, and a polynomial fitted by iteratively
reweighted least squares on Chebyshev nodes. k comes from adding 1.5 * 2**52, which leaves it in
the low bits of the sum.

`exp_single` is float64 with relative error below 2**-46.9 + 2**-52 abs(d): enough for float32 and
what is narrower. `exp_pair` is an unevaluated sum of two float64 with relative error below
2**-63.2, for float64.
The error analysis is in docs/bounds.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import ldexp

from llvmlite import ir

from implementations._exact.vectors import Vec

CUTOFF_SINGLE = -200.0
"""Below it exp_single gives 0: less than 2**-288, below every result in float32 and bfloat16."""

CUTOFF_PAIR = -800.0
"""Below it exp_pair gives 0: less than 2**-1154."""

BIAS = 256
"""exp_pair is times 2**BIAS, so that neither part is subnormal down to the cutoff."""

_MAGIC = 1.5 * 2.0**52
_STEPS = float.fromhex("0x1.71547652b82fep+4")  # 16 / ln(2)
_STEP = float.fromhex("0x1.62e42fefa39efp-5")  # ln(2) / 16
_STEP_HIGH = float.fromhex("0x1.62e42fefap-5")  # 38 bits of it, a multiple of 2**-42
_STEP_LOW = float.fromhex("0x1.cf79abc9e3b3ap-44")  # the rest; what is missing is below 2**-97

# (exp(r) - 1 - r) / r**2: truncation 2**-47.3 and 2**-65.2 of exp(r)
_SINGLE = [
    float.fromhex(c)
    for c in (
        "0x1.fffffffdbc795p-2",
        "0x1.555555546c72ap-3",
        "0x1.55573c8402879p-5",
        "0x1.11124f8db85d6p-7",
    )
]
_PAIR = [
    float.fromhex(c)
    for c in (
        "0x1.0000000000004p-1",
        "0x1.5555555555559p-3",
        "0x1.555555547f5ebp-5",
        "0x1.111111108fd6ap-7",
        "0x1.6c18417b6aa12p-10",
        "0x1.a01b867c1a666p-13",
    )
]

_POWERS = [
    float.fromhex(c)
    for c in (
        "0x1.0000000000000p+0",
        "0x1.0b5586cf9890fp+0",
        "0x1.172b83c7d517bp+0",
        "0x1.2387a6e756238p+0",
        "0x1.306fe0a31b715p+0",
        "0x1.3dea64c123422p+0",
        "0x1.4bfdad5362a27p+0",
        "0x1.5ab07dd485429p+0",
        "0x1.6a09e667f3bcdp+0",
        "0x1.7a11473eb0187p+0",
        "0x1.8ace5422aa0dbp+0",
        "0x1.9c49182a3f090p+0",
        "0x1.ae89f995ad3adp+0",
        "0x1.c199bdd85529cp+0",
        "0x1.d5818dcfba487p+0",
        "0x1.ea4afa2a490dap+0",
    )
]
_POWER_REST = [  # 2**(j/16) = power * (1 + rest)
    float.fromhex(c)
    for c in (
        "0x0.0p+0",
        "0x1.79aa65d837b6dp-54",
        "-0x1.01b15eaa59348p-55",
        "0x1.68efde3a8a894p-54",
        "0x1.34d754db0abb6p-55",
        "0x1.59f48a72a4c6dp-55",
        "0x1.690cebb7aafb0p-56",
        "0x1.063e1e21c5409p-54",
        "-0x1.3b3efbf5e2228p-54",
        "-0x1.b32dcb94da51dp-56",
        "0x1.db72fc1f0eab4p-55",
        "0x1.1affc2b91ce27p-56",
        "0x1.c1a7792cb3387p-55",
        "0x1.36eae30af0cb3p-56",
        "0x1.4a385a63d07a7p-56",
        "-0x1.ff7128fd391f0p-55",
    )
]


def two_sum(a: Vec, b: Vec) -> tuple[Vec, Vec]:
    """a + b as rounded sum and its error (Knuth)."""
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


def quick_two_sum(a: Vec, b: Vec) -> tuple[Vec, Vec]:
    """As `two_sum`, where abs(a) >= abs(b) (Dekker)."""
    s = a + b
    return s, (a - s) + b


def _horner(r: Vec, coefficients: Sequence[float]) -> Vec:
    code, (*rest, last) = r.code, coefficients
    q = code.constant(last)
    for c in reversed(rest):
        q = q.fma(r, c)
    return q


def _scaled_power(t: Vec, bias: int) -> Vec:
    """2**(bias + n) * 2**(j/16): the power's exponent field plus n, in integers.

    Shifting k by 48 puts n into the exponent field and j below it; the table has j taken off.
    """
    code, b = t.code, t.code.builder
    bits = [_bits(ldexp(p, bias)) - (j << 48) for j, p in enumerate(_POWERS)]
    low = t.bits()
    table = code.look_up(bits, low).bits()
    return code.from_bits(b.add(table, b.shl(low, code.integers(48))))


def exp_single(d: Vec) -> Vec:
    """exp(d) for d <= 0, 0 below CUTOFF_SINGLE; NaN stays NaN."""
    t = d.fma(_STEPS, _MAGIC)
    r = (t - _MAGIC).fma(-_STEP, d)
    c0, c1, c2, c3 = _SINGLE
    r2 = r * r
    q = r2.fma(r.fma(c3, c2), r.fma(c1, c0))
    p = r2.fma(q, r + 1.0)
    return (d < CUTOFF_SINGLE).where(0.0, p * _scaled_power(t, 0))


def exp_pair(d: Vec, d_rest: Vec) -> tuple[Vec, Vec]:
    """exp(d + d_rest) * 2**BIAS as two parts, for d <= 0 and abs(d_rest) <= ulp(d)/2.

    0 below CUTOFF_PAIR, whatever d_rest (NaN beside an infinite d); NaN stays NaN.
    """
    t = d.fma(_STEPS, _MAGIC)
    k = t - _MAGIC
    r1 = k.fma(-_STEP_HIGH, d)  # exact
    r = k.fma(-_STEP_LOW, r1)
    rest = k.fma(-_STEP_LOW, r1 - r) + d_rest + d.code.look_up(_POWER_REST, t.bits())
    v, v_rest = quick_two_sum(r, (r * r) * _horner(r, _PAIR))  # exp(r) - 1
    v_rest = v_rest + rest.fma(v, rest)  # rest * exp(r), and rest is up to 2**-44
    power = _scaled_power(t, BIAS)
    high = power.fma(v, power)
    low = power.fma(v_rest, power.fma(v, power - high))
    zero = d < CUTOFF_PAIR
    return zero.where(0.0, high), zero.where(0.0, low)


def finish_pair(high: Vec, low: Vec, factor: Vec, factor_rest: Vec) -> Vec:
    """(high + low) * (factor + factor_rest), rounded once; below TINY by `finish_tiny`."""
    return high.fma(factor, high.fma(factor_rest, low * factor))


TINY = 2.0**-1000
"""From here down the low part of `finish_pair` loses more than 2**-22 of an ulp by underflow."""


def finish_tiny(high: Vec, low: Vec, factor: Vec, factor_rest: Vec) -> Vec:
    """`finish_pair` for results below TINY: computed times 2**BIAS, and rounded once to there.

    A subnormal number is an integer in units of 2**-1074: its bits are the low bits of the sum
    with a large constant, corrected where what that sum lost, with the low part, is more than half
    a unit.
    """
    code, b = high.code, high.code.builder
    scale = 2.0**BIAS
    f, f_rest = factor * scale, factor_rest * scale
    product = high * f
    y, y_rest = quick_two_sum(
        product,
        high.fma(f, code.constant(0.0) - product) + high.fma(f_rest, low * f),
    )
    unit = 2.0 ** (BIAS - 1074)
    big = code.constant(2.0**52 * unit)
    z = y + big
    lost = y - (z - big)
    rest = lost + y_rest
    half = 0.5 * unit
    up = (rest > half) | (lost.equals(half) & (y_rest > 0.0))
    down = (rest < -half) | (lost.equals(-half) & (y_rest < 0.0))
    z = up.where(z + unit, down.where(z - unit, z))
    subnormal = code.from_bits(b.sub(z.bits(), big.bits()))
    return (y < 2.0 ** (BIAS - 1022)).where(subnormal, y * 2.0**-BIAS)


def exponential(x: Vec, m: Vec, wide: bool) -> tuple[Vec, Vec, Vec | None]:
    """(d, high, low) of exp(x - m), d = x - m rounded: a pair if `wide`, else low is None."""
    if not wide:
        d = x - m
        return d, exp_single(d), None
    d, rest = two_sum(x, x.code.constant(0.0) - m)
    return d, *exp_pair(d, rest)


def finished(high: Vec, low: Vec | None, factor: Vec, factor_rest: Vec) -> Vec:
    """(high + low) * (factor + factor_rest) by what serves it; a plain product without `low`."""
    if low is None:
        return high * factor
    code, b = high.code, high.code.builder
    y = finish_pair(high, low, factor, factor_rest)
    place = code.variable(y)
    tiny = (y < TINY) & (high > 0.0)
    some = b.icmp_unsigned("!=", b.bitcast(tiny.value, ir.IntType(8)), ir.IntType(8)(0))
    with b.if_then(some, likely=False):
        exact = finish_tiny(high, low, factor, factor_rest)
        code.set(place, tiny.where(exact, y))
    return code.get(place)


def _bits(value: float) -> int:
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return bits
