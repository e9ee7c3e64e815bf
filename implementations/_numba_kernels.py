"""The compiled code of `numba_cpu` in plain loops: all operations but softmax.

Exponential: exp(x) = p * 2**k. x is multiplied by log2(e) and rounded to k by adding and
subtracting 1.5 * 2**(mantissa bits), which leaves k in the low bits of the sum, from where an
integer shift makes it a power of two. p = exp(x - k ln 2) is 1 + r + r**2 q(r), the subtraction
exact by fused multiply-adds (Cody and Waite 1980), q fitted by weighted least squares on Chebyshev
nodes: relative error 2**-27.9 of the float32 one, 2**-56.7 of the float64 one, without roundings.
The intrinsics keep float32 and int32 where Numba would widen to 64 bits, and allow reassociation
for a single addition, which global flags would extend to the exactness of the rest.

Sums: in blocks of 2048 entries, in vector lanes within a block and compensated over the blocks, so
that their error does not grow with the length of the row. The blocks do not depend on the number
of threads or rows: neither do the results, to the bit.

All in one file: Numba's cache of compiled code looks at the age of a function's own file alone,
and would run an old exponential after a change of it elsewhere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, overload

BLOCK = 2048

_compiled = njit(cache=True, error_model="numpy", nogil=True)
_threaded = njit(cache=True, error_model="numpy", nogil=True, parallel=True)

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
            for c in [
                "0x1.fffff8p-2",
                "0x1.55548cp-3",
                "0x1.555b64p-5",
                "0x1.123cc0p-7",
                "0x1.6878aep-10",
            ]
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
        for c in [
            "0x1.000000000000cp-1",
            "0x1.5555555555512p-3",
            "0x1.555555554ff58p-5",
            "0x1.1111111121f50p-7",
            "0x1.6c16c185cf540p-10",
            "0x1.a01a0149272fbp-13",
            "0x1.a019962bb418ap-16",
            "0x1.71dee11aeba03p-19",
            "0x1.28b0ab1cb2fa7p-22",
            "0x1.adeb07b66c005p-26",
        ]
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


def from_float64(number: float, like: Any) -> Any:
    """`number` in the format of `like`."""
    raise NotImplementedError("only within Numba")


@overload(from_float64)
def _from_float64(number, like):
    if like == types.float32:
        return lambda number, like: np.float32(number)
    return lambda number, like: number


@_compiled  # type: ignore[misc]
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


@_compiled  # type: ignore[misc]
def _maximum(x: Any) -> Any:
    """The largest entry, NaN if there is a positive one; through integers, which vectorise."""
    top = order_key(x[0])
    for i in range(x.size):
        top = larger(order_key(x[i]), top)
    return from_order_key(top)


@_compiled  # type: ignore[misc]
def _frame(m: Any) -> Any:
    """(shift, cutoff, t): what is subtracted, below what exp counts as 0, the top's exponent.

    The shift is 0 but for a maximum beyond the range of the reduction. x - m is exact there
    wherever the result is not 0 (Sterbenz), so that no input is rounded before its exponential.
    """
    shift = m if abs(m) > shift_above(m) else m - m  # NaN for an infinite maximum, by m - m
    top = m - shift
    return shift, top - depth(m), reduce(top)[1]


@_compiled  # type: ignore[misc]
def _exponential(x: Any, shift: Any, cutoff: Any, t_top: Any) -> Any:
    """exp(x - shift) * 2**(64 - k_top), 0 below the cutoff; NaN passes every comparison."""
    v = x - shift
    p, t = reduce(v)
    return zero(v) if v < cutoff else p * power(t, t_top)


@_compiled  # type: ignore[misc]
def _fill_block(x: Any, e: Any, shift: Any, cutoff: Any, t_top: Any) -> tuple[float, float]:
    """Exponentials of a block into `e`; their sum as (high, low).

    Two loops, since one with two widths would be vectorised for the larger.
    """
    for i in range(x.size):
        e[i] = _exponential(x[i], shift, cutoff, t_top)
    return _block_sum(e)


@_compiled  # type: ignore[misc]
def _block_sum(e: Any) -> tuple[float, float]:
    """The sum of a block's entries as (high, low)."""
    high, low = 0.0, 0.0
    for i in range(e.size):
        high, low = accumulate(high, low, e[i])
    return high, low


@_compiled  # type: ignore[misc]
def _two_sum(total: float, rest: float, s: float) -> tuple[float, float]:
    """(total, rest) + s, the rounding error of the sum added to the rest (Knuth)."""
    new = total + s
    back = new - total
    return new, rest + ((total - (new - back)) + (s - back))


@_compiled  # type: ignore[misc]
def _fill(x: Any, e: Any, shift: Any, cutoff: Any, t_top: Any) -> tuple[float, float]:
    """Exponentials of a row into `e`; their sum as (total, rest)."""
    total, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        high, low = _fill_block(x[b : b + BLOCK], e[b : b + BLOCK], shift, cutoff, t_top)
        total, rest = _two_sum(total, rest, high)
        total, rest = _two_sum(total, rest, low)
    return _two_sum(total, 0.0, rest)


@_compiled  # type: ignore[misc]
def _sum(x: Any, shift: Any, cutoff: Any, t_top: Any) -> float:
    """The sum of a row's exponentials, not stored."""
    scratch = np.empty(min(x.size, BLOCK), x.dtype)
    total, rest = 0.0, 0.0
    for b in range(0, x.size, BLOCK):
        block = x[b : b + BLOCK]
        high, low = _fill_block(block, scratch[: block.size], shift, cutoff, t_top)
        total, rest = _two_sum(total, rest, high)
        total, rest = _two_sum(total, rest, low)
    return total + rest


@_compiled  # type: ignore[misc]
def _plain_sum(e: Any) -> tuple[float, float]:
    """The sum of stored entries as (total, rest)."""
    total, rest = 0.0, 0.0
    for b in range(0, e.size, BLOCK):
        high, low = _block_sum(e[b : b + BLOCK])
        total, rest = _two_sum(total, rest, high)
        total, rest = _two_sum(total, rest, low)
    return _two_sum(total, 0.0, rest)


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


@_compiled  # type: ignore[misc]
def _log_sum(x: Any, m: Any) -> float:
    """log of the sum of exp(x - m), m the maximum: log1p of all but one maximum's share."""
    shift, cutoff, t_top = _frame(m)
    top = 0
    while top < x.size - 1 and x[top] != m:
        top += 1
    others = _sum(x[:top], shift, cutoff, t_top) + _sum(x[top + 1 :], shift, cutoff, t_top)
    return math.log1p(others / np.float64(_exponential(m, shift, cutoff, t_top)))


@_compiled  # type: ignore[misc]
def _log_softmax_row(x: Any, out: Any) -> None:
    m = _maximum(x)
    log_sum = _log_sum(x, m)
    wide = np.float64(m)
    for i in range(x.size):
        out[i] = (np.float64(x[i]) - wide) - log_sum


@_compiled  # type: ignore[misc]
def _has_nan(x: Any) -> bool:
    """Whether any entry is NaN; the maximum alone misses those with a sign."""
    for v in x:  # noqa: SIM110 (Numba has no any())
        if v != v:
            return True
    return False


@_compiled  # type: ignore[misc]
def _logsumexp_row(x: Any) -> float:
    m = _maximum(x)
    if abs(m) == np.inf:
        return np.nan if _has_nan(x) else np.float64(m)
    return np.float64(m) + _log_sum(x, m)


@_compiled  # type: ignore[misc]
def _backward_row(grad: Any, y: Any, out: Any) -> None:
    dot, rest = 0.0, 0.0
    for b in range(0, y.size, BLOCK):
        g, p = grad[b : b + BLOCK], y[b : b + BLOCK]
        s = 0.0
        for i in range(p.size):
            s = add(s, np.float64(g[i]) * np.float64(p[i]))
        dot, rest = _two_sum(dot, rest, s)
    dot += rest
    for i in range(y.size):
        out[i] = np.float64(y[i]) * (np.float64(grad[i]) - dot)


@_compiled  # type: ignore[misc]
def _cross_entropy_row(x: Any, target: int, gradient: Any) -> float:
    """The loss; the gradient's entry at the target is -(sum of the others), which cancels not."""
    m = _maximum(x)
    log_sum = _log_sum(x, m)
    shift, cutoff, t_top = _frame(m)
    _fill(x, gradient, shift, cutoff, t_top)
    own = np.float64(gradient[target])
    gradient[target] = 0
    others, rest = _plain_sum(gradient)
    at_target = -(others + rest)
    total, rest = _two_sum(others, rest, own)
    total, rest = _two_sum(total, 0.0, rest)
    divide(gradient, total, rest)
    gradient[target] = at_target / total
    return (np.float64(m) - np.float64(x[target])) + log_sum


@_compiled  # type: ignore[misc]
def log_softmax_serial(x: Any, out: Any) -> None:
    for r in range(x.shape[0]):
        _log_softmax_row(x[r], out[r])


@_threaded  # type: ignore[misc]
def log_softmax_parallel(x: Any, out: Any) -> None:
    for r in prange(x.shape[0]):
        _log_softmax_row(x[r], out[r])


@_compiled  # type: ignore[misc]
def logsumexp_serial(x: Any, out: Any) -> None:
    for r in range(x.shape[0]):
        out[r] = _logsumexp_row(x[r])


@_threaded  # type: ignore[misc]
def logsumexp_parallel(x: Any, out: Any) -> None:
    for r in prange(x.shape[0]):
        out[r] = _logsumexp_row(x[r])


@_compiled  # type: ignore[misc]
def backward_serial(grad: Any, y: Any, out: Any) -> None:
    for r in range(y.shape[0]):
        _backward_row(grad[r], y[r], out[r])


@_threaded  # type: ignore[misc]
def backward_parallel(grad: Any, y: Any, out: Any) -> None:
    for r in prange(y.shape[0]):
        _backward_row(grad[r], y[r], out[r])


@_compiled  # type: ignore[misc]
def cross_entropy_serial(x: Any, targets: Any, loss: Any, gradient: Any) -> None:
    for r in range(x.shape[0]):
        loss[r] = _cross_entropy_row(x[r], targets[r], gradient[r])


@_threaded  # type: ignore[misc]
def cross_entropy_parallel(x: Any, targets: Any, loss: Any, gradient: Any) -> None:
    for r in prange(x.shape[0]):
        loss[r] = _cross_entropy_row(x[r], targets[r], gradient[r])


_ENOUGH = 2.0**-20  # of a sum: a smaller difference of sums is not accurate to float32


@_threaded  # type: ignore[misc]
def cross_entropy_from_sums(x: Any, targets: Any, sums: Any, loss: Any, gradient: Any) -> None:
    """Losses, and the gradient at the targets, after a softmax to `gradient` that kept its sums.

    log1p of all but the maximum's share and -(sum of all but the target's): the differences from
    the sum where they leave enough digits, added up again from the row where they do not.
    """
    for r in prange(x.shape[0]):
        row, target = x[r], targets[r]
        m = from_float64(sums[r, 0], zero(row[0]))
        total, rest = sums[r, 1], sums[r, 2]
        shift, cutoff, t_top = _frame(m)
        top = np.float64(_exponential(m, shift, cutoff, t_top))
        own = np.float64(_exponential(row[target], shift, cutoff, t_top))
        others = (total - top) + rest
        few = others < total * _ENOUGH
        log_sum = _log_sum(row, m) if few else math.log1p(others / top)
        others = (total - own) + rest
        if others < total * _ENOUGH:
            others = _sum(row[:target], shift, cutoff, t_top)
            others += _sum(row[target + 1 :], shift, cutoff, t_top)
        gradient[r, target] = -others / (total + rest)
        loss[r] = (np.float64(m) - np.float64(row[target])) + log_sum
