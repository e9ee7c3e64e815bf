"""The bounds themselves: how errors add up in each algorithm (derivations: docs/bounds.md).

Errors are carried in the logarithm, abs(ln(computed / exact)) <= L, where products add up without
second-order terms: one rounding costs at most ln(1 + u), an exponential -ln(1 - E u), a rounded
shift exactly u times its size. L is exact for any n u, and becomes the relative error expm1(L)
at the end. What underflow adds is absolute and kept apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from harness.bounds.context import BoundContext
from harness.numerics.formats import Float64Array, float_format, scale_by_power

# The bounds are evaluated in float64, in some 30 operations: allow for their own roundings.
_EVALUATION = 1.0 + 2.0**-40
_LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class BoundResult:
    """An elementwise bound on the error of a computed softmax.

    Infinite where the bound claims nothing (overflow in the algorithm, or a row whose result is
    a convention); zero at masked places, where the result is exactly 0.

    Attributes:
        name: of the bound.
        relative: (rows, classes), the part that is relative to the exact value, dimensionless,
            without underflow and without the rounding to a narrower output.
        ulp: (rows, classes), the whole bound in ulps of the output format at the exact value.
        absolute: (rows, classes), the whole bound in units of the result.
    """

    name: str
    relative: Float64Array
    ulp: Float64Array
    absolute: Float64Array


def _exp_cost(c: BoundContext) -> float:
    scaled = c.exp_error * c.u
    return float(-np.log1p(-scaled)) if scaled < 1 else np.inf


def _growth(relative: ArrayLike) -> Float64Array:
    """-ln(1 - r): the cost of an absolute error of r times the sum; infinite from r = 1."""
    relative = np.asarray(relative, dtype=np.float64)
    possible = relative < 1
    cost = -np.log1p(-np.where(possible, relative, 0.0))
    return np.asarray(np.where(possible, cost, np.inf), dtype=np.float64)


def _shift_cost(c: BoundContext) -> Float64Array:
    """ln(sum(p_i exp(u Delta_i))): what the rounded shifts do to the sum; A u to first order."""
    a = c.u * c.gap
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        near = c.weights * np.expm1(np.minimum(a, 1.0))
        far = np.exp(-c.gap * (1.0 - c.u) - c.log_sum)
        far = np.where(np.isfinite(c.gap), far, 0.0)
        total = np.where(a <= 1.0, near, far).sum(axis=1, keepdims=True)
    return np.asarray(np.log1p(total), dtype=np.float64)


def _may_underflow(c: BoundContext, arguments: Float64Array) -> Float64Array:
    """(rows, 1): how many exponentials of `arguments` can be subnormal."""
    limit = _LN2 * c.internal.emin
    low = c.finite & (arguments <= limit + (4.0 * c.u) * abs(limit))
    return np.asarray(low.sum(axis=1, keepdims=True), dtype=np.float64)


def _shifted_sum(c: BoundContext, rescalings: Float64Array | float = 0.0) -> Float64Array:
    """Cost of the computed sum of exp(x_i - max), with R rescalings of an online sum."""
    exp_cost = _exp_cost(c)
    cost = _shift_cost(c) + exp_cost + c.depth * c.rounding
    cost = cost + rescalings * (exp_cost + c.rounding)
    few = _may_underflow(c, -c.gap)
    # A factor that underflows multiplies a sum of at most n; its product underflows by half an
    # eta. Both need a gap beyond the smallest normal number, as some term then has.
    rescaled = np.where(few > 0, rescalings * (c.count * c.exp_eta + 2.0 * c.half_eta), 0.0)
    lost = (few * c.exp_eta + rescaled) * c.internal.smallest_subnormal
    with np.errstate(over="ignore", invalid="ignore"):
        share = np.where(lost > 0, lost * np.exp(cost - c.log_sum), 0.0)
    return cost + _growth(share)


def _unshifted_sum(c: BoundContext) -> Float64Array:
    """Cost of the computed sum of exp(x_i); infinite where it overflows or may be lost."""
    cost = np.broadcast_to(_exp_cost(c) + c.depth * c.rounding, c.count.shape)
    few = _may_underflow(c, c.logits)
    with np.errstate(over="ignore", invalid="ignore"):
        lost = few * c.exp_eta * c.internal.smallest_subnormal * np.exp(cost - c.logsumexp)
        cost = cost + _growth(np.where(few > 0, lost, 0.0))
    overflows = c.logsumexp + cost >= np.log(c.internal.max)
    return np.where(overflows, np.inf, cost)


def _finish(c: BoundContext, name: str, cost: Float64Array, eta: Float64Array) -> BoundResult:
    """The bound in ulps from the cost L of each element and its absolute part, in eta."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        relative = np.expm1(np.minimum(cost, 700.0))
        relative = np.where(cost < 700.0, relative, np.inf)
        # Where L is large the result is tiny or lost: p exp(L) bounds both sides of the error.
        log_ulp = np.where(
            np.isfinite(c.gap), -c.gap - c.log_sum + cost - c.quantum * _LN2, -np.inf
        )
        total = np.where(cost <= 1.0, c.in_ulp * relative, np.exp(log_ulp))
        total = total + eta * c.eta_in_ulp
        if c.output != c.internal:
            total = _rounded_once_more(c, total)
        total = np.where(np.isnan(total), np.inf, total * _EVALUATION)
    total = np.where(c.finite, total, 0.0)
    total = np.where(c.defined, total, np.inf)
    return BoundResult(
        name=name,
        relative=np.where(c.defined, relative, np.inf),
        ulp=total,
        absolute=scale_by_power(total, c.quantum),
    )


def _rounded_once_more(c: BoundContext, total: Float64Array) -> Float64Array:
    """The bound after one rounding to the output format, in its ulps.

    Half an ulp of the rounded value. If the error stays below half an ulp, crossing into the
    next binade costs nothing: its first number is representable, so that the rounding adds no
    more than the crossing did.
    """
    _, reach = np.frexp(np.minimum(c.in_ulp + total, 1e300))
    wider = np.maximum(reach - c.output.precision, 0).astype(np.int64)
    return total + np.where(total <= 0.5, 0.5, 0.5 * scale_by_power(1.0, wider))


def naive(c: BoundContext) -> BoundResult:
    total = _unshifted_sum(c)
    cost = _exp_cost(c) + total + c.rounding
    with np.errstate(over="ignore"):
        eta = c.exp_eta * np.exp(np.minimum(total, 700.0) - c.logsumexp) * (1.0 + c.u) + c.half_eta
    eta = np.where(_may_underflow(c, c.logits) > 0, eta, c.half_eta)
    return _finish(c, "naive", np.broadcast_to(cost, c.gap.shape), eta)


def _shift_divide(c: BoundContext, name: str, rescalings: Float64Array | float) -> BoundResult:
    total = _shifted_sum(c, rescalings)
    cost = c.u * c.gap + _exp_cost(c) + total + c.rounding
    with np.errstate(over="ignore"):
        eta = c.exp_eta * np.exp(np.minimum(total, 700.0) - c.log_sum) * (1.0 + c.u) + c.half_eta
    return _finish(c, name, cost, eta)


def shift_divide(c: BoundContext) -> BoundResult:
    return _shift_divide(c, "shift_divide", 0.0)


def online(c: BoundContext) -> BoundResult:
    return _shift_divide(c, "online", c.records)


def half_in_out(c: BoundContext) -> BoundResult:
    wide = c if c.internal.precision > c.output.precision else _widened(c)
    return replace(shift_divide(wide), name="half_in_out")


def _widened(c: BoundContext) -> BoundContext:
    # A new object: the cached quantities of the other arithmetic must not follow.
    return replace(c, internal=float_format("float32"))


def _from_logarithm(c: BoundContext, name: str, log_cost: Float64Array) -> BoundResult:
    """exp(x_j - lse), given the absolute error of the computed lse."""
    distance = c.gap + c.log_sum
    with np.errstate(invalid="ignore", over="ignore"):
        cost = log_cost + c.u * (distance + log_cost) + _exp_cost(c)
    return _finish(c, name, cost, np.full(c.gap.shape, c.exp_eta))


def log_sum_exp_unshifted(c: BoundContext) -> BoundResult:
    total = _unshifted_sum(c)
    with np.errstate(invalid="ignore"):
        error = total + c.log_error * c.u * (np.abs(c.logsumexp) + total)
    return _from_logarithm(c, "log_sum_exp_unshifted", error)


def log_sum_exp_shifted(c: BoundContext) -> BoundResult:
    total = _shifted_sum(c)
    error = total + c.log_error * c.u * (c.log_sum + total)
    error = error + c.u * (np.abs(c.logsumexp) + error)
    return _from_logarithm(c, "log_sum_exp_shifted", error)


def log_sum_exp_shifted_difference(c: BoundContext) -> BoundResult:
    total = _shifted_sum(c)
    error = total + c.log_error * c.u * (c.log_sum + total)
    return _from_logarithm(c, "log_sum_exp_shifted_difference", error + c.u * c.gap)


def two_pass(c: BoundContext) -> BoundResult:
    pair = _exp_cost(c) + c.reduction * c.u
    # Scaling by powers of two is exact but for underflow, against a sum of at least 0.7.
    lost = _growth(2.0 * c.count * 2.0 * c.half_eta * c.internal.smallest_subnormal)
    cost = 2.0 * pair + c.depth * c.rounding + lost + 2.0 * c.rounding
    return _finish(
        c, "two_pass", np.broadcast_to(cost, c.gap.shape), np.full(c.gap.shape, c.half_eta)
    )


_TABLE_EXP_SINGLE = 2.0**-47.3 + 5.0 * 2.0**-53
_TABLE_EXP_SHIFT = 2.0 * 2.0**-53
_BLOCK_ADDITIONS = 137.0
_TABLE_EXP_PAIR = 2.0**-63.2


def rounded_once(c: BoundContext) -> BoundResult:
    """Float64 inside for what is narrower, double-double for float64; the exponential its own."""
    c = replace(c, internal=float_format("float64"))
    if c.output.precision < c.internal.precision:
        weights_shift = _shift_cost(c) * (_TABLE_EXP_SHIFT / c.u)
        depth = np.minimum(c.depth, _BLOCK_ADDITIONS)
        cost = _TABLE_EXP_SHIFT * c.gap + weights_shift - 2.0 * np.log1p(-_TABLE_EXP_SINGLE)
        cost = cost + (depth + 4.0) * c.rounding
    else:
        cost = np.full(c.gap.shape, 2.0 * _TABLE_EXP_PAIR + 2.0**-75)
    result = _finish(c, "rounded_once", cost, np.zeros(c.gap.shape))
    if c.output != c.internal:
        return result
    once = _rounded_once_more(c, result.ulp)
    ulp = np.where(c.finite & np.isfinite(result.ulp), once, result.ulp)
    return replace(result, ulp=ulp, absolute=scale_by_power(ulp, c.quantum))


def generic(c: BoundContext) -> BoundResult:
    results = [
        f(c) for f in (shift_divide, online, log_sum_exp_shifted, log_sum_exp_shifted_difference)
    ]
    first, *others = results
    relative, ulp, absolute = first.relative, first.ulp, first.absolute
    for other in others:
        relative = np.maximum(relative, other.relative)
        ulp = np.maximum(ulp, other.ulp)
        absolute = np.maximum(absolute, other.absolute)
    return BoundResult("generic", relative, ulp, absolute)


def _published(c: BoundContext, name: str, in_u: Float64Array) -> BoundResult:
    """A bound as printed: first order, relative, exp and log accurate to u, no underflow.

    Args:
        in_u: (rows, 1), in units of u; infinite where the theorem claims nothing.
    """
    relative = np.broadcast_to(c.u * in_u, c.gap.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.where(c.finite, c.in_ulp * relative, 0.0)
    total = np.where(c.defined & ~np.isnan(total), total, np.inf)
    return BoundResult(
        name,
        np.where(c.defined, relative, np.inf),
        total,
        scale_by_power(total, c.quantum),
    )


def _furthest(c: BoundContext) -> Float64Array:
    return np.asarray((c.gap + c.log_sum).max(axis=1, keepdims=True))


def _unless_it_overflows(c: BoundContext, in_u: Float64Array) -> Float64Array:
    """A theorem about the unshifted sum, infinite where that sum overflows or, rounded, may."""
    return np.where(c.logsumexp + c.u * in_u >= np.log(c.internal.max), np.inf, in_u)


def published_naive(c: BoundContext) -> BoundResult:
    return _published(c, "published_naive", _unless_it_overflows(c, c.count + 3.0))


def published_shift_divide(c: BoundContext) -> BoundResult:
    spread = c.gap.max(axis=1, keepdims=True)
    return _published(c, "published_shift_divide", c.count + 2.0 + 2.0 * spread)


def published_log_sum_exp_unshifted(c: BoundContext) -> BoundResult:
    in_u = np.abs(c.logsumexp) + _furthest(c) + c.count + 2.0
    return _published(c, "published_log_sum_exp_unshifted", _unless_it_overflows(c, in_u))


def published_log_sum_exp_shifted(c: BoundContext) -> BoundResult:
    smallest = np.where(c.finite, c.logits, np.inf).min(axis=1, keepdims=True)
    in_u = 1.0 + _furthest(c) + np.abs(c.logsumexp + c.count - smallest)
    return _published(c, "published_log_sum_exp_shifted", in_u)
