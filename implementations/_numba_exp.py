"""The exponential of `numba_cpu`, in pieces that LLVM vectorises without fast-math.

exp(x) = p * 2**k: x is multiplied by log2(e) and rounded to k by adding and subtracting
1.5 * 2**(mantissa bits), which leaves k in the low bits of the sum, from where an integer shift
makes it a power of two. p = exp(x - k ln 2) is 1 + r + r**2 q(r), the subtraction exact by fused
multiply-adds (Cody and Waite 1980), q fitted by weighted least squares on Chebyshev nodes:
relative error 2**-27.9 of the float32 one, 2**-56.7 of the float64 one, roundings excluded.

The intrinsics keep float32 and int32 where Numba would widen to 64 bits, and allow reassociation
for a single addition, which global flags would extend to the exactness of the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

_INTEGER = {types.float32: (types.int32, 23, 127), types.float64: (types.int64, 52, 1023)}
_BIAS = 64  # exponentials are kept times 2**64, so that none that matters is subnormal


@intrinsic  # type: ignore[misc]
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    return (a(a, b, c), code) if a == b == c and a in _INTEGER else None


@intrinsic  # type: ignore[misc]
def add(typingctx: Any, a: Any, b: Any) -> Any:
    """a + b where the order of a chain of them is free, so that a loop of sums vectorises."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.fadd(*values, flags=("reassoc",))

    return (a(a, b), code) if a == b and a in _INTEGER else None


@intrinsic  # type: ignore[misc]
def order_key(typingctx: Any, x: Any) -> Any:
    """An integer in the order of the floats; positive NaN above +inf. Its own inverse's input."""
    if x not in _INTEGER:
        return None
    integer = _INTEGER[x][0]

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return _flip(builder, builder.bitcast(values[0], ir.IntType(integer.bitwidth)))

    return integer(x), code


@intrinsic  # type: ignore[misc]
def from_order_key(typingctx: Any, key: Any) -> Any:
    """The float of an `order_key`."""
    number = {types.int32: types.float32, types.int64: types.float64}.get(key)
    if number is None:
        return None
    llvm = ir.FloatType() if number == types.float32 else ir.DoubleType()

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bitcast(_flip(builder, values[0]), llvm)

    return number(key), code


def _flip(builder: Any, i: Any) -> Any:
    """Negative ones' magnitude bits inverted: bit pattern to order and back."""
    width = i.type.width
    sign = builder.ashr(i, ir.Constant(i.type, width - 1))
    return builder.xor(i, builder.lshr(sign, ir.Constant(i.type, 1)))


@intrinsic  # type: ignore[misc]
def larger(typingctx: Any, a: Any, b: Any) -> Any:
    """The larger of two integers, in their own width."""

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.select(builder.icmp_signed(">", *values), *values)

    return (a(a, b), code) if a == b and a in (types.int32, types.int64) else None


@intrinsic  # type: ignore[misc]
def power(typingctx: Any, t: Any, t_top: Any) -> Any:
    """2**(k - k_top + 64) from the two sums that hold k in their low bits; wraps silently."""
    if t not in _INTEGER or t != t_top:
        return None
    integer, mantissa, bias = _INTEGER[t]

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(integer.bitwidth)
        a, b = (builder.bitcast(v, word) for v in values)
        shifted = builder.shl(builder.sub(a, b), ir.Constant(word, mantissa))
        biased = builder.add(shifted, ir.Constant(word, (bias + _BIAS) << mantissa))
        return builder.bitcast(biased, context.get_value_type(signature.return_type))

    return t(t, t), code


def reduce(x: Any) -> Any:
    """exp(x) as (p, t): p, and the sum t that holds k in its low bits."""
    raise NotImplementedError("only within Numba")


def shift_above(x: Any) -> Any:
    """Twice the distance below the maximum at which results are 0, or more; of x's type."""
    raise NotImplementedError("only within Numba")


def depth(x: Any) -> Any:
    """A distance below the maximum from which on results are 0, underflow included."""
    raise NotImplementedError("only within Numba")


def accumulate(high: float, low: float, v: Any) -> tuple[float, float]:
    """(high, low) + v, float64; `high` exactly, for up to 4096 terms of at most 2**65.

    float32 terms are summed in float64. float64 ones are cut at 2**24, which is 2**-40 of the
    top's exponential: the upper parts add up without rounding, in any order, and what is lost of
    the lower ones is beyond the 90th bit.
    """
    raise NotImplementedError("only within Numba")


def zero(x: Any) -> Any:
    """0 of x's type."""
    raise NotImplementedError("only within Numba")


@overload(reduce)
def _reduce(x):
    if x == types.float32:
        f = np.float32
        log2e, magic = f(1.4426950408889634), f(12582912.0)
        high, low = f(-0.693147182464599609375), f(1.904654323148236017e-9)
        q0, q1, q2, q3, q4 = (
            f(float.fromhex(c))
            for c in (
                "0x1.fffff8p-2 0x1.55548cp-3 0x1.555b64p-5 0x1.123cc0p-7 0x1.6878aep-10"
            ).split()
        )
        one = f(1)

        def single(x):
            t = fused(x, log2e, magic)
            k = t - magic
            r = fused(k, low, fused(k, high, x))
            q = fused(fused(fused(fused(q4, r, q3), r, q2), r, q1), r, q0)
            return one + fused(r * r, q, r), t

        return single

    magic64 = 6755399441055744.0
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = (
        float.fromhex(c)
        for c in (
            "0x1.000000000000cp-1 0x1.5555555555512p-3 0x1.555555554ff58p-5 "
            "0x1.1111111121f50p-7 0x1.6c16c185cf540p-10 0x1.a01a0149272fbp-13 "
            "0x1.a019962bb418ap-16 0x1.71dee11aeba03p-19 0x1.28b0ab1cb2fa7p-22 "
            "0x1.adeb07b66c005p-26"
        ).split()
    )

    def double(x):
        t = fused(x, 1.4426950408889634, magic64)
        k = t - magic64
        r = fused(k, -1.90821492927058770002e-10, fused(k, -6.93147180369123816490e-01, x))
        q = fused(fused(fused(fused(c9, r, c8), r, c7), r, c6), r, c5)
        q = fused(fused(fused(fused(fused(q, r, c4), r, c3), r, c2), r, c1), r, c0)
        return 1.0 + fused(r * r, q, r), t

    return double


@overload(shift_above)
def _shift_above(x):
    limit = np.float32(256) if x == types.float32 else 2048.0
    return lambda x: limit


@overload(depth)
def _depth(x):
    # exp(-104) < 2**-150 and exp(-745.2) < 2**-1075; and room for rounding at the largest shift.
    distance = np.float32(104.5) if x == types.float32 else 746.0
    return lambda x: distance


@overload(accumulate)
def _accumulate(high, low, v):
    if v == types.float32:
        return lambda high, low, v: (add(high, np.float64(v)), low)
    cut = 1.5 * 2.0**76

    def double(high, low, v):
        upper = (v + cut) - cut
        return add(high, upper), add(low, v - upper)

    return double


@overload(zero)
def _zero(x):
    nought = np.float32(0) if x == types.float32 else 0.0
    return lambda x: nought


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[misc]
def exp_rows(x: Any, out: Any) -> None:
    """exp of one-dimensional `x` by the same reduction; overflows, and underflows gradually."""
    t_zero = reduce(zero(x[0]))[1]
    for i in range(x.size):
        v = x[i]
        if abs(v) < 800:  # beyond, the result is 0 or infinite in both formats; NaN passes
            p, t = reduce(v)
            out[i] = math.ldexp(np.float64(p), np.int32(t - t_zero))
        else:
            out[i] = np.inf if v > 0 else v * 0 if v != v else 0.0
