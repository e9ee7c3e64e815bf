"""The bounds themselves: how errors add up in each algorithm (derivations: docs/bounds.md).

Errors are carried in the logarithm, abs(ln(computed / exact)) <= L, where products add up without
second-order terms: one rounding costs at most ln(1 + u), an exponential -ln(1 - E u), a rounded
shift exactly u times its size. L is exact for any n u, and becomes the relative error expm1(L)
at the end. What underflow adds is absolute and kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.bounds.context import BoundContext
from harness.numerics.formats import Float64Array, FloatFormat, float_format, scale_by_power

# The bounds are evaluated in float64, in some 30 operations: allow for their own roundings.
_EVALUATION = 1.0 + 2.0**-40
_LN2 = float(np.log(2.0))
_BHH = (
    "P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax "
    "functions, IMA J. Numer. Anal. 41 (2021) 2311-2330, doi:10.1093/imanum/draa038, "
)


@dataclass(frozen=True)
class BoundResult:
    """An elementwise bound on the error of a computed softmax.

    Infinite where the bound claims nothing (overflow in the algorithm, or a row whose result is
    a convention); zero at masked places, where the result is exactly 0.

    Attributes:
        relative: (rows, classes), the part that is relative to the exact value, dimensionless,
            without underflow and without the rounding to a narrower output.
        ulp: (rows, classes), the whole bound in ulps of the output format at the exact value.
        quantum: (rows, classes), one of those ulps is 2**quantum.
    """

    relative: Float64Array
    ulp: Float64Array
    quantum: NDArray[np.int64]

    @cached_property
    def absolute(self) -> Float64Array:
        """(rows, classes), the whole bound in units of the result."""
        return scale_by_power(self.ulp, self.quantum)


Evaluate = Callable[[BoundContext], BoundResult]


@dataclass(frozen=True)
class Bound:
    """A bound with its provenance.

    Attributes:
        name: key in `BOUNDS`; what an implementation's metadata names.
        algorithm: the computation that it is a bound for.
        formula: to first order, relative error unless it says otherwise.
        source: paper and theorem, or where it is derived.
        evaluate: the bound on a `BoundContext`.
        published_name: the bound of the literature for the same algorithm, if there is one.
        misprinted: True if it is known to be violated by correct code.
        theorem: of a published bound, what its paper calls it.
        paper: of a published bound, its authors and year.
    """

    name: str
    algorithm: str
    formula: str
    source: str
    evaluate: Evaluate
    published_name: str | None = None
    misprinted: bool = False
    theorem: str | None = None
    paper: str | None = None

    @property
    def published(self) -> bool:
        """Whether it is as printed in the literature: drawn, and no implementation fails by it."""
        return self.theorem is not None


_bounds: dict[str, Bound] = {}
BOUNDS: Mapping[str, Bound] = MappingProxyType(_bounds)
"""Every bound by name: each function below that is marked as one."""


def _derived(
    algorithm: str, formula: str, more: str = "", published_name: str | None = None
) -> Callable[[Evaluate], Evaluate]:
    """Mark a function as a bound of its name that is derived in docs/bounds.md."""

    def enter(evaluate: Evaluate) -> Evaluate:
        name, source = evaluate.__name__, "derived in docs/bounds.md" + more
        _bounds[name] = Bound(name, algorithm, formula, source, evaluate, published_name)
        return evaluate

    return enter


InUnits = Callable[[BoundContext], Float64Array]


def _published(
    algorithm: str, formula: str, theorem: str, remark: str = "", misprinted: bool = False
) -> Callable[[InUnits], InUnits]:
    """Mark a function as a bound that is printed in the paper below.

    It is first order, relative, with exp and log accurate to u and no underflow. The function
    gives it in units of u, (rows, 1); infinite where the theorem claims nothing.
    """

    def enter(in_u: InUnits) -> InUnits:
        name = in_u.__name__
        _bounds[name] = Bound(
            name, algorithm, formula, _BHH + theorem + remark,
            lambda c: _first_order(c, in_u(c)), misprinted=misprinted, theorem=theorem,
            paper="Blanchard, Higham and Higham (2021)",
        )  # fmt: skip
        return in_u

    return enter


def _exp_cost(c: BoundContext) -> float:
    return float(_growth(c.exp_error * c.u))


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
        if not (a <= 1.0).all():
            far = np.exp(-c.gap * (1.0 - c.u) - c.log_sum)
            far = np.where(np.isfinite(c.gap), far, 0.0)
            near = np.where(a <= 1.0, near, far)
        total = near.sum(axis=1, keepdims=True)
    return np.asarray(np.log1p(total), dtype=np.float64)


def _may_underflow(c: BoundContext, arguments: Float64Array) -> Float64Array:
    """(rows, 1): how many exponentials of `arguments` can be subnormal."""
    limit = _LN2 * c.internal.emin
    low = c.finite & (arguments <= limit + (4.0 * c.u) * abs(limit))
    return np.asarray(low.sum(axis=1, keepdims=True), dtype=np.float64)


def _shifted_sum(
    c: BoundContext, rescalings: Float64Array | float = 0.0, shift: Float64Array | None = None
) -> Float64Array:
    """Cost of the computed sum of exp(x_i - max), with R rescalings of an online sum.

    Args:
        shift: `_shift_cost`, where it is known.
    """
    exp_cost = _exp_cost(c)
    cost = (_shift_cost(c) if shift is None else shift) + exp_cost + c.depth * c.rounding
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


def _finish(c: BoundContext, cost: Float64Array, eta: Float64Array) -> BoundResult:
    """The bound in ulps from the cost L of each element and its absolute part, in eta."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        relative = np.expm1(np.minimum(cost, 700.0))
        relative = np.where(cost < 700.0, relative, np.inf)
        total = c.in_ulp * relative
        if not (cost <= 1.0).all():
            # Where L is large the result is tiny or lost: p exp(L) bounds both sides of the error.
            log_ulp = np.where(
                np.isfinite(c.gap), -c.gap - c.log_sum + cost - c.quantum * _LN2, -np.inf
            )
            total = np.where(cost <= 1.0, total, np.exp(log_ulp))
        total = total + eta * c.eta_in_ulp
        if c.output != c.internal:
            total = _rounded_once_more(c, total)
        total = np.where(np.isnan(total), np.inf, total * _EVALUATION)
    total = np.where(c.finite, total, 0.0)
    total = np.where(c.defined, total, np.inf)
    return BoundResult(
        relative=np.where(c.defined, relative, np.inf),
        ulp=total,
        quantum=c.quantum,
    )


def _rounded_once_more(c: BoundContext, total: Float64Array) -> Float64Array:
    return rounded_once_more(c.in_ulp, total, c.output)


def rounded_once_more(
    in_ulp: Float64Array, total: Float64Array, output: FloatFormat
) -> Float64Array:
    """A bound after one rounding to the output format, in its ulps; `in_ulp` the exact values.

    Half an ulp of the rounded value. If the error stays below half an ulp, crossing into the
    next binade costs nothing: its first number is representable, so that the rounding adds no
    more than the crossing did.
    """
    _, reach = np.frexp(np.minimum(in_ulp + total, 1e300))
    wider = np.maximum(reach - output.precision, 0).astype(np.int64)
    return total + np.where(total <= 0.5, 0.5, 0.5 * scale_by_power(1.0, wider))


@_derived(
    "exp(x_j) / Σ exp(x_i)",
    "(n+2E)u + underflow of exp(x_i) against the sum; nothing where the sum overflows",
    published_name="published_naive",
)
def naive(c: BoundContext) -> BoundResult:
    total = _unshifted_sum(c)
    cost = _exp_cost(c) + total + c.rounding
    with np.errstate(over="ignore"):
        eta = c.exp_eta * np.exp(np.minimum(total, 700.0) - c.logsumexp) * (1.0 + c.u) + c.half_eta
    eta = np.where(_may_underflow(c, c.logits) > 0, eta, c.half_eta)
    return _finish(c, np.broadcast_to(cost, c.gap.shape), eta)


def _divided(c: BoundContext, total: Float64Array) -> BoundResult:
    """exp(x_j - max) over the sum, given the cost of the computed sum."""
    cost = c.u * c.gap + _exp_cost(c) + total + c.rounding
    with np.errstate(over="ignore"):
        eta = c.exp_eta * np.exp(np.minimum(total, 700.0) - c.log_sum) * (1.0 + c.u) + c.half_eta
    return _finish(c, cost, eta)


@_derived(
    "exp(x_j−m) / Σ exp(x_i−m), m = max x",
    "(n+2E+Δ_j+A)u + (½+E_η/s)η; Δ_j = m−x_j, A = Σ p_i Δ_i ≤ ln n",
    published_name="published_shift_divide",
)
def shift_divide(c: BoundContext) -> BoundResult:
    return _divided(c, _shifted_sum(c))


def _from_logarithm(c: BoundContext, log_cost: Float64Array) -> BoundResult:
    """exp(x_j - lse), given the absolute error of the computed lse."""
    distance = c.gap + c.log_sum
    with np.errstate(invalid="ignore", over="ignore"):
        cost = log_cost + c.u * (distance + log_cost) + _exp_cost(c)
    return _finish(c, cost, np.full(c.gap.shape, c.exp_eta))


@_derived(
    "exp(x_j−y), y = log Σ exp(x_i)",
    "(n−1+2E+E_l·|y|+|x_j−y|)u + E_η η; nothing where the sum overflows",
    published_name="published_log_sum_exp_unshifted",
)
def log_sum_exp_unshifted(c: BoundContext) -> BoundResult:
    total = _unshifted_sum(c)
    with np.errstate(invalid="ignore"):
        error = total + c.log_error * c.u * (np.abs(c.logsumexp) + total)
    return _from_logarithm(c, error)


def _log_of_sum(c: BoundContext, total: Float64Array) -> Float64Array:
    """The absolute error of the logarithm of a shifted sum, given the cost of that sum."""
    return total + c.log_error * c.u * (c.log_sum + total)


@_derived(
    "exp(x_j−y), y = m + log Σ exp(x_i−m)",
    "(n−1+2E+A+E_l·ln s+|y|+|x_j−y|)u + E_η η; with E_l = 1, A + ln s is the entropy H",
    published_name="published_log_sum_exp_shifted",
)
def log_sum_exp_shifted(c: BoundContext) -> BoundResult:
    error = _log_of_sum(c, _shifted_sum(c))
    return _from_logarithm(c, error + c.u * (np.abs(c.logsumexp) + error))


@_derived(
    "exp((x_j−m) − log Σ exp(x_i−m))",
    "(n−1+2E+A+E_l·ln s+Δ_j+|x_j−y|)u + E_η η",
)
def log_sum_exp_shifted_difference(c: BoundContext) -> BoundResult:
    return _from_logarithm(c, _log_of_sum(c, _shifted_sum(c)) + c.u * c.gap)


@_derived(
    "exp(x_j−m) / s with a running maximum, s rescaled by exp(m_old−m_new) R times",
    "(n+2E+Δ_j+A+R(E+1))u + (½+E_η/s)η",
)
def online(c: BoundContext) -> BoundResult:
    return _divided(c, _shifted_sum(c, c.records))


@_derived(
    "(mantissa, exponent) pairs: a_j·2^k_j / Σ a_i·2^k_i, no shift",
    "(n+2E+2ρ+1)u + η/2; ρu the absolute error of the reduced argument",
    "; algorithm: M. Dukhan, A. Ablavatski, The two-pass softmax algorithm, 2020, arXiv:2001.04438",
)
def two_pass(c: BoundContext) -> BoundResult:
    pair = _exp_cost(c) + c.reduction * c.u
    # Scaling by powers of two is exact but for underflow, against a sum of at least 0.7.
    lost = _growth(2.0 * c.count * 2.0 * c.half_eta * c.internal.smallest_subnormal)
    cost = 2.0 * pair + c.depth * c.rounding + lost + 2.0 * c.rounding
    return _finish(c, np.broadcast_to(cost, c.gap.shape), np.full(c.gap.shape, c.half_eta))


@_derived(
    "float16 or bfloat16 in and out, shift and divide in float32 inside",
    "½ + (n+2E+Δ_j+A)·2^(p−24) ulp, p = 11 or 8, + underflow",
)
def half_in_out(c: BoundContext) -> BoundResult:
    if c.internal.precision <= c.output.precision:
        # A new object: the cached quantities of the other arithmetic must not follow.
        c = replace(c, internal=float_format("float32"))
    return shift_divide(c)


_TABLE_EXP_SINGLE = 2.0**-47.3 + 5.0 * 2.0**-53
_TABLE_EXP_SHIFT = 2.0 * 2.0**-53
_BLOCK_ADDITIONS = 137.0
_TABLE_EXP_PAIR = 2.0**-63.2


@_derived(
    "exp(x_j−m) / Σ exp(x_i−m) in float64 (double-double for float64) by a table of sixteen",
    "½ + (2^6.8+k+2Δ_j+2A)·2^(p−53) ulp, k = min(n−1, 137); float64: ½ + 2^−9.2 ulp",
)
def rounded_once(c: BoundContext) -> BoundResult:
    """Computed in float64, or in double-double for float64; its own exp is part of the proof."""
    c = replace(c, internal=float_format("float64"))
    if c.output.precision < c.internal.precision:
        weights_shift = _shift_cost(c) * (_TABLE_EXP_SHIFT / c.u)
        depth = np.minimum(c.depth, _BLOCK_ADDITIONS)
        cost = _TABLE_EXP_SHIFT * c.gap + weights_shift - 2.0 * np.log1p(-_TABLE_EXP_SINGLE)
        cost = cost + (depth + 4.0) * c.rounding
    else:
        cost = np.full(c.gap.shape, 2.0 * _TABLE_EXP_PAIR + 2.0**-75)
    result = _finish(c, cost, np.zeros(c.gap.shape))
    if c.output != c.internal:
        return result
    once = _rounded_once_more(c, result.ulp)
    ulp = np.where(c.finite & np.isfinite(result.ulp), once, result.ulp)
    return replace(result, ulp=ulp)


@_derived(
    "nothing declared: any of shift and divide, online, exp(x−lse) in both shifted forms",
    "the largest of their bounds, elementwise",
)
def generic(c: BoundContext) -> BoundResult:
    # That of shift and divide is nowhere above that of the online sum, which rescales as well;
    # and of the two by the logarithm, the costlier has the larger bound at each element.
    shift = _shift_cost(c)
    online_sum = _divided(c, _shifted_sum(c, c.records, shift))
    log_cost = _log_of_sum(c, _shifted_sum(c, shift=shift))
    log_cost = log_cost + np.maximum(c.u * (np.abs(c.logsumexp) + log_cost), c.u * c.gap)
    by_logarithm = _from_logarithm(c, log_cost)
    return BoundResult(
        np.maximum(online_sum.relative, by_logarithm.relative),
        np.maximum(online_sum.ulp, by_logarithm.ulp),
        c.quantum,
    )


def _first_order(c: BoundContext, in_u: Float64Array) -> BoundResult:
    """A bound as printed, (rows, 1) in units of u, at each element."""
    relative = np.broadcast_to(c.u * in_u, c.gap.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.where(c.finite, c.in_ulp * relative, 0.0)
    total = np.where(c.defined & ~np.isnan(total), total, np.inf)
    return BoundResult(np.where(c.defined, relative, np.inf), total, c.quantum)


def _furthest(c: BoundContext) -> Float64Array:
    return np.asarray((c.gap + c.log_sum).max(axis=1, keepdims=True))


def _unless_it_overflows(c: BoundContext, in_u: Float64Array) -> Float64Array:
    """A theorem about the unshifted sum, infinite where that sum overflows or, rounded, may."""
    return np.where(c.logsumexp + c.u * in_u >= np.log(c.internal.max), np.inf, in_u)


@_published("exp(x_j) / Σ exp(x_i)", "(n+3)u", "Theorem 3.3")
def published_naive(c: BoundContext) -> Float64Array:
    return _unless_it_overflows(c, c.count + 3.0)


@_published("exp(x_j−m) / Σ exp(x_i−m)", "(n+2+2(xmax−xmin))u", "Theorem 4.3")
def published_shift_divide(c: BoundContext) -> Float64Array:
    spread: Float64Array = c.gap.max(axis=1, keepdims=True)
    return c.count + 2.0 + 2.0 * spread


@_published("exp(x_j−y), y = log Σ exp(x_i)", "(|y|+max|x_j−y|+n+2)u", "Theorem 3.4")
def published_log_sum_exp_unshifted(c: BoundContext) -> Float64Array:
    in_u = np.abs(c.logsumexp) + _furthest(c) + c.count + 2.0
    return _unless_it_overflows(c, in_u)


@_published(
    "exp(x_j−y), y = m + log1p(Σ_{i≠k} exp(x_i−m))",
    "(1+max|x_j−y|+|y+n−xmin|)u",
    "Theorem 4.4",
    ", as printed: violated, since its proof drops the rounding of m + log1p",
    misprinted=True,
)
def published_log_sum_exp_shifted(c: BoundContext) -> Float64Array:
    smallest: Float64Array = np.where(c.finite, c.logits, np.inf).min(axis=1, keepdims=True)
    return 1.0 + _furthest(c) + np.abs(c.logsumexp + c.count - smallest)
