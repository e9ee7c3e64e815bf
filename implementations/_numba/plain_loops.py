"""A row of `numba_cpu` in plain loops, which LLVM vectorises: largest entry, exponentials, sums.

The exponential is that of `exponential`, for numbers. The intrinsics keep float32 and int32 where
Numba would widen to 64 bits, and allow reassociation for a single addition, which global flags
would extend to the exactness of the rest.

Sums: in blocks of 2048 entries, in vector lanes within a block and compensated over the blocks, so
that their error does not grow with the length of the row. The blocks do not depend on the number
of threads or rows: neither do the results, to the bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from implementations._numba.exponential import depth, reduce, shift_above, two_sum
from implementations._simd.compilation import compiled
from implementations._simd.vectors import BIAS, zero

BLOCK = 2048

_INTEGER = {types.float32: (types.int32, 23, 127), types.float64: (types.int64, 52, 1023)}


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
        biased = builder.add(shifted, ir.Constant(word, (bias + BIAS) << mantissa))
        return builder.bitcast(biased, context.get_value_type(signature.return_type))

    return t(t, t), code


def accumulate(high: float, low: float, v: Any) -> tuple[float, float]:
    """(high, low) + v, float64; `high` exactly, for up to 4096 terms of at most 2**65.

    float32 terms are summed in float64. float64 ones are cut at 2**24, which is 2**-40 of the
    top's exponential: the upper parts add up without rounding, in any order, and what is lost of
    the lower ones is beyond the 90th bit.
    """
    raise NotImplementedError("only within Numba")


@overload(accumulate)
def _accumulate(high, low, v):
    if v == types.float32:
        return lambda high, low, v: (add(high, np.float64(v)), low)
    cut = 1.5 * 2.0**76

    def double(high, low, v):
        upper = (v + cut) - cut
        return add(high, upper), add(low, v - upper)

    return double


@compiled
def largest(x: Any) -> Any:
    """The largest entry, NaN if there is a positive one; through integers, which vectorise."""
    top = order_key(x[0])
    for i in range(x.size):
        top = larger(order_key(x[i]), top)
    return from_order_key(top)


@compiled
def frame(m: Any) -> Any:
    """(shift, cutoff, t): what is subtracted, below what exp counts as 0, the top's exponent.

    The shift is 0 but for a maximum beyond the range of the reduction. x - m is exact there
    wherever the result is not 0 (Sterbenz), so that no input is rounded before its exponential.
    """
    shift = m if abs(m) > shift_above(m) else m - m  # NaN for an infinite maximum, by m - m
    top = m - shift
    return shift, top - depth(m), reduce(top)[1]


@compiled
def exponential(x: Any, shift: Any, cutoff: Any, t_top: Any) -> Any:
    """exp(x - shift) * 2**(64 - k_top), 0 below the cutoff; NaN passes every comparison."""
    v = x - shift
    p, t = reduce(v)
    return zero(v) if v < cutoff else p * power(t, t_top)


@compiled
def fill_block(x: Any, e: Any, shift: Any, cutoff: Any, t_top: Any) -> tuple[float, float]:
    """Exponentials of a block into `e`; their sum as (high, low).

    Two loops, since one with two widths would be vectorised for the larger.
    """
    for i in range(x.size):
        e[i] = exponential(x[i], shift, cutoff, t_top)
    return block_sum(e)


@compiled
def block_sum(e: Any) -> tuple[float, float]:
    """The sum of a block's entries as (high, low)."""
    high, low = 0.0, 0.0
    for i in range(e.size):
        high, low = accumulate(high, low, e[i])
    return high, low


@compiled
def fill_row(x: Any, e: Any, shift: Any, cutoff: Any, t_top: Any) -> tuple[float, float]:
    """Exponentials of a row into `e`; their sum as (total, rest)."""
    total, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        high, low = fill_block(x[b : b + BLOCK], e[b : b + BLOCK], shift, cutoff, t_top)
        total, rest = two_sum(total, rest, high)
        total, rest = two_sum(total, rest, low)
    return two_sum(total, 0.0, rest)


@compiled
def sum_of_row(x: Any, shift: Any, cutoff: Any, t_top: Any) -> float:
    """The sum of a row's exponentials, not stored."""
    scratch = np.empty(min(x.size, BLOCK), x.dtype)
    total, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        block = x[b : b + BLOCK]
        high, low = fill_block(block, scratch[: block.size], shift, cutoff, t_top)
        total, rest = two_sum(total, rest, high)
        total, rest = two_sum(total, rest, low)
    return total + rest


@compiled
def plain_sum(e: Any) -> tuple[float, float]:
    """The sum of stored entries as (total, rest)."""
    total, rest = 0.0, 0.0
    for b in range(0, e.size, BLOCK):
        high, low = block_sum(e[b : b + BLOCK])
        total, rest = two_sum(total, rest, high)
        total, rest = two_sum(total, rest, low)
    return two_sum(total, 0.0, rest)


def divide(e: Any, total: float, rest: float) -> None:
    """e / (total + rest) in place, rounded (nearly) once, underflow included.

    float32 by a float64 product; float64 by the reciprocal as an unevaluated sum.
    """
    raise NotImplementedError("only within Numba")


@overload(divide)
def _divide(e, total, rest):
    if e.dtype == types.float32:

        def single(e, total, rest):
            factor = 1.0 / (total + rest)
            for i in range(e.size):
                e[i] = np.float32(np.float64(e[i]) * factor)

        return single

    def double(e, total, rest):
        high = 1.0 / total
        low = -high * (fused(total, high, -1.0) + rest * high)
        for i in range(e.size):
            e[i] = fused(e[i], high, e[i] * low)

    return double


@compiled
def log_sum(x: Any, m: Any) -> float:
    """log of the sum of exp(x - m), m the maximum: log1p of all but one maximum's share."""
    shift, cutoff, t_top = frame(m)
    top = 0
    while top < x.size - 1 and x[top] != m:
        top += 1
    others = sum_of_row(x[:top], shift, cutoff, t_top) + sum_of_row(
        x[top + 1 :], shift, cutoff, t_top
    )
    return math.log1p(others / np.float64(exponential(m, shift, cutoff, t_top)))
