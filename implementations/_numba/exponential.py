"""The exponential of `numba_cpu` in explicit vectors, and sums of it that do not grow stale.

exp(x) = p * 2**k. x is multiplied by log2(e) and rounded to k by adding and subtracting
1.5 * 2**(mantissa bits), which leaves k in the low bits of the sum, from where an integer shift
makes it a power of two. p = exp(x - k ln 2) is 1 + r + r**2 q(r), the subtraction exact by fused
multiply-adds (Cody and Waite 1980), q fitted by weighted least squares on Chebyshev nodes:
relative error 2**-27.9 of the float32 one, 2**-56.7 of the float64 one, without roundings. Where
there is no fused multiply-add, ln 2 is cut shorter, so that its product with k is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from implementations._simd.compilation import HAS_FMA, inner, internal, specialised
from implementations._simd.vectors import (
    BIAS,
    F32,
    Vector,
    broadcast,
    divide,
    exponent_base,
    fma,
    larger,
    multiply_add,
    power,
    times_power,
    to_float32,
    to_float64,
    where_less,
    zero,
)

_LOG2E = 1.4426950408889634
_MAGIC = {types.float32: 12582912.0, types.float64: 6755399441055744.0}
_SHORT_LN2 = {  # high part, low part, both negated; k times the high part is exact
    types.float32: (-0.693359375, 2.12194440054690583e-4),
    types.float64: (-6.93147180369123816490e-01, -1.90821492927058770002e-10),
}
_LN2 = dict(_SHORT_LN2)
if HAS_FMA:
    _LN2[types.float32] = (-0.693147182464599609375, 1.904654323148236017e-9)
_Q = {
    types.float32: (
        *("0x1.fffff8p-2", "0x1.55548cp-3", "0x1.555b64p-5", "0x1.123cc0p-7"),
        "0x1.6878aep-10",
    ),
    types.float64: (
        *("0x1.000000000000cp-1", "0x1.5555555555512p-3", "0x1.555555554ff58p-5"),
        *("0x1.1111111121f50p-7", "0x1.6c16c185cf540p-10", "0x1.a01a0149272fbp-13"),
        *("0x1.a019962bb418ap-16", "0x1.71dee11aeba03p-19", "0x1.28b0ab1cb2fa7p-22"),
        "0x1.adeb07b66c005p-26",
    ),
}


@intrinsic  # type: ignore[misc]
def reduce(typingctx: Any, x: Any) -> Any:
    """exp(x) as (p, t): p, and the sum t that holds k in its low bits."""
    return (types.UniTuple(x, 2)(x), _reduction(x)) if _element(x) in _Q else None


@intrinsic  # type: ignore[misc]
def reduce_product(typingctx: Any, x: Any, scale: Any) -> Any:
    """`reduce` of scale * x, which is not rounded; |scale| below 2**100.

    The high part of ln 2 is the short one, whose product with k is exact.
    """
    return (types.UniTuple(x, 2)(x, scale), _reduction(x)) if _element(x) in _Q else None


def _element(x: Any) -> Any:
    return x.element if isinstance(x, Vector) else x


def _reduction(x: Any) -> Any:
    """The code of `reduce` and of `reduce_product`."""
    element = _element(x)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        v, *scale = values

        def constant(value: float) -> Any:
            if isinstance(x, Vector):
                return ir.Constant(v.type, [value] * x.lanes)
            return ir.Constant(v.type, value)

        def fused(a: Any, b: Any, c: Any) -> Any:
            return multiply_add(builder, a, b, c)

        magic = constant(_MAGIC[element])
        log2e = constant(float(np.float32(_LOG2E)) if element == types.float32 else _LOG2E)
        if scale:
            high, low = (constant(part) for part in _SHORT_LN2[element])
            t = fused(v, builder.fmul(scale[0], log2e), magic)
            k = builder.fsub(t, magic)
            r = fused(v, scale[0], builder.fmul(k, high))
        else:
            high, low = (constant(part) for part in _LN2[element])
            t = fused(v, log2e, magic)
            k = builder.fsub(t, magic)
            r = fused(k, high, v)
        r = fused(k, low, r)
        coefficients = [constant(float.fromhex(c)) for c in _Q[element]]
        q = coefficients.pop()
        for c in reversed(coefficients):
            q = fused(q, r, c)
        p = builder.fadd(constant(1.0), fused(builder.fmul(r, r), q, r))
        return context.make_tuple(builder, signature.return_type, (p, t))

    return code


@intrinsic  # type: ignore[misc]
def shift_above(typingctx: Any, m: Any) -> Any:
    """The size of a maximum from which on it is subtracted before the exponential.

    Twice `depth` or more: a smaller x - max is exact then wherever the result is not 0.
    """
    return _chosen(m, 256.0, 2048.0)


@intrinsic  # type: ignore[misc]
def depth(typingctx: Any, m: Any) -> Any:
    """A distance below the maximum from which on results are 0, underflow included.

    exp(-104) < 2**-150 and exp(-745.2) < 2**-1075; and room for rounding at the largest shift.
    """
    return _chosen(m, 104.5, 746.0)


@intrinsic  # type: ignore[misc]
def near(typingctx: Any, m: Any) -> Any:
    """A distance below the maximum down to which no result of 2**30 classes is subnormal."""
    return _chosen(m, 64.0, 640.0)


@intrinsic  # type: ignore[misc]
def mild(typingctx: Any, m: Any) -> Any:
    """A size of logits below which exponentials are normal numbers, and four of them add up to one.

    Not of float64, whose sums need a frame.
    """
    return _chosen(m, 86.0, 0.0)


@intrinsic  # type: ignore[misc]
def small(typingctx: Any, m: Any) -> Any:
    """A size of mild logits below which no result of 2**30 classes is subnormal: a row is near."""
    return _chosen(m, 31.0, 0.0)


@intrinsic  # type: ignore[misc]
def unit(typingctx: Any, m: Any) -> Any:
    """1 in the type of `m`."""
    return _chosen(m, 1.0, 1.0)


@intrinsic  # type: ignore[misc]
def unbias(typingctx: Any, m: Any) -> Any:
    """What takes 2**BIAS off."""
    return _chosen(m, 2.0**-BIAS, 2.0**-BIAS)


@intrinsic  # type: ignore[misc]
def infinity(typingctx: Any, m: Any) -> Any:
    """Infinity in the type of `m`."""
    return _chosen(m, np.inf, np.inf)


@intrinsic  # type: ignore[misc]
def exact_shift_below(typingctx: Any, m: Any) -> Any:
    """The size of a shift below which it is less than 1/4 away from the product it is of."""
    return _chosen(m, 2.0**23, 2.0**52)


@intrinsic  # type: ignore[misc]
def lowest_frame(typingctx: Any, m: Any) -> Any:
    """A maximum below which a block counts for nothing in any row that needs no shift."""
    return _chosen(m, -400.0, -3000.0)


@intrinsic  # type: ignore[misc]
def _magic(typingctx: Any, m: Any) -> Any:
    return _chosen(m, _MAGIC[types.float32], _MAGIC[types.float64])


@inner
def exponent(m):  # type: ignore[no-untyped-def]
    """k of exp(m) = p * 2**k, as a number of its type."""
    return reduce(m)[1] - _magic(m)


def as_like(number: Any, like: Any) -> Any:
    """A float64 in the format of `like`."""
    raise NotImplementedError("only within Numba")


@specialised(as_like)
def _as_like(number, like):  # type: ignore[no-untyped-def]
    if like == types.float32:
        return lambda number, like: np.float32(number)
    return lambda number, like: number


def _chosen(kind: Any, single: float, double: float) -> Any:
    """A constant by format, as a number or a vector."""
    element = _element(kind)
    value = single if element == types.float32 else double

    def code(_context: Any, _builder: Any, signature: Any, values: Any) -> Any:
        llvm = values[0].type
        return ir.Constant(llvm, [value] * llvm.count if isinstance(kind, Vector) else value)

    return kind(kind), code


@inner
def frame(m):  # type: ignore[no-untyped-def]
    """(shift, cutoff, base) of maxima: what is subtracted, below what exp counts as 0, exponent.

    `m` is a vector of maxima, of one row or of a row per lane. The shift is 0 but for a maximum
    beyond the range of the reduction. x - m is exact there wherever the result is not 0 (Sterbenz),
    so that no input is rounded before its exponential.
    """
    nothing = zero(m)
    shift = where_less(shift_above(m), larger(m, nothing - m), m, nothing)
    top = m - shift  # NaN for an infinite maximum
    return shift, top - depth(m), exponent_base(reduce(top)[1])


@inner
def unshifted_frame(m):  # type: ignore[no-untyped-def]
    """`frame` without a shift; of maxima from `lowest_frame` to `shift_above`."""
    return zero(m), m - depth(m), exponent_base(reduce(m)[1])


@inner
def far_lanes(top, bottom):  # type: ignore[no-untyped-def]
    """1 in the lanes of rows that are not near, 0 in the others.

    Of mild ones that is a matter of size, which is all that is known of some.
    """
    nothing, one, size = zero(top), unit(top), size_of(top, bottom)
    far = where_less(top - bottom, near(top), nothing, one)
    far = where_less(shift_above(top), larger(top, nothing - top), one, far)
    return where_less(size, mild(top), far_by_size(size, small(top)), far)


@inner
def size_of(top, bottom):  # type: ignore[no-untyped-def]
    """The largest size of logits between vectors of extremes."""
    return larger(top, zero(bottom) - bottom)


@inner
def far_by_size(size, limit):  # type: ignore[no-untyped-def]
    """1 in the lanes of mild rows whose largest size is not below a limit, 0 in the others."""
    return where_less(size, limit, zero(size), unit(size))


@inner
def exponential(x, shift, cutoff, base):  # type: ignore[no-untyped-def]
    """exp(x - shift) * 2**(64 - k_top), 0 below the cutoff; NaN passes every comparison."""
    v = x - shift
    p, t = reduce(v)
    return where_less(v, cutoff, zero(v), p * power(t, base))


@inner
def near_exponential(x, base):  # type: ignore[no-untyped-def]
    """The same, bit for bit, of a row without shift and with nothing below the cutoff."""
    p, t = reduce(x)
    return p * power(t, base)


@inner
def mild_exponential(x):  # type: ignore[no-untyped-def]
    """exp(x) of mild logits, in no frame."""
    p, t = reduce(x)
    return times_power(p, t)


def gather(a: Any, b: Any, v: Any) -> Any:
    """The sum kept in two float64 vectors, plus that of the numbers in `v`, lane by lane.

    float32 is summed in float64, a lane of the lower half in `a`, of the upper in `b`; `gather4`
    adds four vectors as a tree of two levels before. float64 is cut at 2**24, which is 2**-40 of
    the top's exponential: the upper parts add up in `a` without rounding, for up to 4096 terms of
    at most 2**65, in any order, and what is lost of the lower ones in `b` is beyond the 90th bit.
    """
    raise NotImplementedError("only within Numba")


def gather4(a: Any, b: Any, v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    """`gather` of four vectors."""
    raise NotImplementedError("only within Numba")


@inner
def _cut(a, b, v):  # type: ignore[no-untyped-def]
    upper = (v + broadcast(_CUT)) - broadcast(_CUT)
    return a + upper, b + (v - upper)


_CUT = 1.5 * 2.0**76


@specialised(gather)
def _gather(a, b, v):  # type: ignore[no-untyped-def]
    def single(a, b, v):  # type: ignore[no-untyped-def]
        low, high = to_float64(v)
        return a + low, b + high

    return single if v == F32 else lambda a, b, v: _cut(a, b, v)


@specialised(gather4)
def _gather4(a, b, v0, v1, v2, v3):  # type: ignore[no-untyped-def]
    def single(a, b, v0, v1, v2, v3):  # type: ignore[no-untyped-def]
        low, high = to_float64((v0 + v1) + (v2 + v3))
        return a + low, b + high

    def double(a, b, v0, v1, v2, v3):  # type: ignore[no-untyped-def]
        a, b = _cut(a, b, v0)
        a, b = _cut(a, b, v1)
        a, b = _cut(a, b, v2)
        return _cut(a, b, v3)

    return single if v0 == F32 else double


@internal
def two_sum(total, rest, s):  # type: ignore[no-untyped-def]
    """(total, rest) + s, the rounding error of the sum added to the rest (Knuth)."""
    new = total + s
    back = new - total
    return new, rest + ((total - (new - back)) + (s - back))


def scale_of(a: Any, b: Any, like: Any) -> Any:
    """What `scaled` multiplies by: the reciprocal of the sum that `a` and `b` hold lane by lane.

    float32: it and its rounding error in float32, and in float64 for either half of a vector.
    float64: it and its error, and the sum itself for where there is no fused multiply-add.
    """
    raise NotImplementedError("only within Numba")


def scaled(e: Any, scale: Any) -> Any:
    """`e` divided by the sum, rounded (nearly) once, gradual underflow included.

    float32 through float64: no product has a subnormal operand or result, which processors handle
    in microcode.
    """
    raise NotImplementedError("only within Numba")


def near_scaled(e: Any, scale: Any) -> Any:
    """The same for results that are not subnormal, in their own format; other bits."""
    raise NotImplementedError("only within Numba")


@inner
def with_rest(low, high):  # type: ignore[no-untyped-def]
    """A scale of float32 from the float64 for either half."""
    head = to_float32(low, high)
    head_low, head_high = to_float64(head)
    return head, to_float32(low - head_low, high - head_high), low, high


@specialised(scale_of)
def _scale_of(a, b, like):  # type: ignore[no-untyped-def]
    def single(a, b, like):  # type: ignore[no-untyped-def]
        one = broadcast(1.0)
        return with_rest(divide(one, a), divide(one, b))

    def double(a, b, like):  # type: ignore[no-untyped-def]
        total = a + b
        rest = b - (total - a)
        head = divide(broadcast(1.0), total)
        tail = zero(head) - head * (fma(total, head, broadcast(-1.0)) + rest * head)
        return head, tail, total, rest

    return single if like == types.float32 else double


@specialised(scaled)
def _scaled(e, scale):  # type: ignore[no-untyped-def]
    if e == F32:

        def single(e, scale):  # type: ignore[no-untyped-def]
            low, high = to_float64(e)
            return to_float32(low * scale[2], high * scale[3])

        return single
    if HAS_FMA:
        return lambda e, scale: fma(e, scale[0], e * scale[1])
    return lambda e, scale: divide(e, scale[2])


@specialised(near_scaled)
def _near_scaled(e, scale):  # type: ignore[no-untyped-def]
    if e == F32 and HAS_FMA:
        return lambda e, scale: fma(e, scale[0], e * scale[1])
    return lambda e, scale: scaled(e, scale)
