"""How far a result may be off: the error allowed to a correct implementation, in ulps.

For softmax the bounds of `harness.bounds`; for its relatives, bounds of the same kind (errors of
the sum are carried in its logarithm, one rounding costs u, exp E u and log E_l u). All cover any
order of summation, any of the usual formulas (shift and divide, online, by log-sum-exp), and the
underflow of what may underflow. They are elementwise, and tight where there are few classes.

- log_softmax: absolute, (n + E + R(E+1) + H + E_l ln s + 2|y| + 2Δ_j + 2|x_j−y| + 6)u;
- logsumexp: absolute, (n + E + R(E+1) + ln n + E_l ln s + 2|m| + 2|y| + 4)u;
- scaled, capped, masked, with a sink: softmax at the changed logits z, and a factor of
  exp(δ_j + Σ p_k δ_k) for what the change rounds: δ = u abs(z) of a product (0 of a power of
  two), u(0.45c + (E + 2)abs(z)) of c tanh(x/c), u of the format of the input;
- softmax_backward: (n + 4)u |y_i|(|g_i| + Σ|g_j y_j|) + underflow;
- cross_entropy: the loss as log_softmax at the target; the gradient as softmax elsewhere, and at
  the target absolutely, the softmax bound on p_t plus 2u (case 59 judges it relatively).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from harness.bounds import evaluate_bound, make_context
from harness.bounds.context import BoundContext
from harness.bounds.formulas import rounded_once_more
from harness.numerics.exact import Exact, from_float64
from harness.numerics.formats import (
    Float64Array,
    FloatFormat,
    float_format,
    scale_by_power,
)
from harness.reference.composed import Change
from harness.reference.memo import certified

ASSUMED_EXP_ERROR = 8.0
"""E in u where nothing was measured: 4 ulp, what fast vector libraries promise."""


@dataclass(frozen=True)
class Arithmetic:
    """What an implementation is known to compute with.

    Attributes:
        bound: the bound of its softmax, by name (`harness.bounds.BOUNDS`).
        accumulator: format that it computes in; None where it is that of the input.
        exp_error: E, in u of that format.
        exp_underflow: largest absolute error of exp where its result is subnormal, in units of the
            smallest subnormal.
    """

    bound: str = "generic"
    accumulator: str | None = None
    exp_error: float = ASSUMED_EXP_ERROR
    exp_underflow: float | None = None

    def internal(self, fmt: FloatFormat) -> FloatFormat:
        if self.accumulator is not None:
            inside = float_format(self.accumulator)
            if inside.precision > fmt.precision:
                return inside
        return fmt

    def errors(self, fmt: FloatFormat) -> dict[str, Any]:
        """The parameters of `make_context` for results of format `fmt`."""
        return {
            "internal": self.internal(fmt),
            "exp_error": self.exp_error,
            "exp_underflow": self.exp_underflow,
        }

    def relevant(self, operation: str, fmt: FloatFormat) -> Arithmetic:
        """What an operation's tolerance depends on; where that is equal, one tolerance serves."""
        accumulator = None if self.internal(fmt) == fmt else self.accumulator
        if operation == "softmax_backward":
            return Arithmetic(accumulator=accumulator)
        bound = "generic" if operation in ("log_softmax", "logsumexp") else self.bound
        return replace(self, bound=bound, accumulator=accumulator)


def softmax_allowance(
    x: ArrayLike, exact: Exact, fmt: DTypeLike | FloatFormat, arithmetic: Arithmetic
) -> Float64Array:
    """Ulps allowed to each element of softmax; `x` (rows, classes).

    Where the declared bound claims nothing (the algorithm overflows there) that of `generic`
    stands in: the right answer exists.
    """
    output = float_format(fmt)
    errors = arithmetic.errors(output)
    own = evaluate_bound(arithmetic.bound, x, exact, output, **errors).ulp
    if arithmetic.bound != "generic" and np.isinf(own).any():
        stand_in = evaluate_bound("generic", x, exact, output, **errors).ulp
        own = np.where(np.isinf(own), stand_in, own)
    return own


def changed_allowance(
    x: Float64Array, change: Change, mask: NDArray[np.bool_] | None, sink: float | None,
    exact: Exact, fmt: DTypeLike | FloatFormat, arithmetic: Arithmetic,
) -> Float64Array:  # fmt: skip
    """Ulps allowed to softmax of changed logits (`harness.reference.composed`); (rows, classes).

    Infinite where what the change may round is more than the result.
    """
    output = float_format(fmt)
    rows, classes = x.shape
    z = change.approximate(x, mask)
    kept = np.isfinite(z)
    with np.errstate(all="ignore"):
        off = output.unit_roundoff * _change_cost(z, change, arithmetic.exp_error)
        off = np.where(kept, np.where(np.abs(z) > output.max, np.inf, off), 0.0)
    whole = exact
    if sink is not None:
        z = np.concatenate([z, np.full((rows, 1), sink)], axis=1)
        ones = from_float64(np.ones((rows, 1)))
        whole = Exact(*(np.concatenate([getattr(e, part) for e in (exact, ones)], axis=1)
                        for part in ("hi", "lo", "exponent")))  # fmt: skip
    base = softmax_allowance(z, whole, output, arithmetic)[:, :classes]
    relative = perturbation(off, exact.to_float64())
    with np.errstate(over="ignore", invalid="ignore"):
        more = np.abs(exact.in_ulps(output)[1]) * relative
        return np.where(np.isnan(more), np.inf, base * (1.0 + relative) + more)


def merge_allowance(
    pairs: tuple[Float64Array, Float64Array, Float64Array, Float64Array], exact: Exact,
    exp_error: float,
) -> Float64Array:  # fmt: skip
    """Ulps allowed to the sum of a merge of the pairs m1, s1, m2, s2.

    For the exponential, the difference before it (u of it, by the share of the smaller part), a
    product and a sum: E + 4 + abs(m1 - m2) w, w that share.
    """
    m1, s1, m2, s2 = pairs
    with np.errstate(all="ignore"):
        gap = np.where(np.isfinite(m1) & np.isfinite(m2), np.abs(m1 - m2), 0.0)
        share = np.where(m1 >= m2, s2, s1) * np.exp(-gap) / exact.to_float64()
        return np.asarray(exp_error + 4.0 + np.where(share > 0, gap * share, 0.0))


def of_parts_allowance(
    part: Exact, allowed: Float64Array, exact: Exact, weight: float, cost: float,
    fmt: DTypeLike | FloatFormat,
) -> Float64Array:  # fmt: skip
    """Ulps allowed to softmax of a row that is put together of parts of its classes.

    A result is the part's softmax times exp(l - L), l the part's computed log-sum-exp and L that of
    all l, with one rounding in all; derived in docs/bounds.md, "Rows in parts".

    Args:
        part: the exact softmax of the part alone, (rows, classes); `allowed`: ulps allowed to it.
        exact: the exact softmax of the row at the part.
        weight: what the part's exponentials are of those of the row.
        cost: `cost_of_parts` of the part.
    """
    output = float_format(fmt)
    q_part, (q, in_ulp, _) = part.in_ulps(output)[0], exact.in_ulps(output)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        inherited = scale_by_power(weight * math.exp(min(cost, 700.0)) * allowed, q_part - q)
        total = inherited + np.abs(in_ulp) * math.expm1(min(cost, 700.0))
        total = rounded_once_more(np.abs(in_ulp), total * (1.0 + 2.0**-30), output)
    total = np.where(np.isnan(total) | (cost > 700.0), np.inf, total)
    return np.where(part.hi == 0, 0.0, total)  # masked


def cost_of_parts(off: Float64Array, weights: Float64Array) -> Float64Array:
    """What errors of log-sum-exps change of the logarithm of each part's factor exp(l - L).

    Args:
        off: the absolute error allowed to the log-sum-exp of each part, (parts,).
        weights: what the exponentials of each part are of those of the row; they sum to one.
    """
    with np.errstate(over="ignore"):
        return np.asarray(off + np.log1p(np.sum(weights * np.expm1(off)) * (1.0 + 2.0**-30)))


def perturbation(off: Float64Array, p: Float64Array) -> Float64Array:
    """The relative change of softmax's results where logits change by at most `off`.

    exp(off_j + log of the mean of exp(off)) - 1, the mean by the weights p, (rows, classes).
    """
    known = np.where(np.isfinite(off), off, 0.0)
    common = (np.where(np.isfinite(off), p, 0.0) * known).sum(axis=1, keepdims=True)
    most = off.max(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.expm1(off + np.where(most < 0.25, 1.14 * common, most)))


def _change_cost(z: Float64Array, change: Change, tanh_error: float) -> Float64Array:
    """What rounding may change of each logit, in units of roundoff."""
    if change.cap is not None:
        return 0.45 * change.cap + (tanh_error + 2.0) * np.abs(z)
    if math.frexp(change.scale)[0] in (0.5, -0.5):
        return np.zeros_like(z)
    return np.abs(z)


def _context(
    x: ArrayLike, fmt: FloatFormat, arithmetic: Arithmetic, exact: Exact | None = None
) -> BoundContext:
    exact = certified("softmax", np.asarray(x))[0] if exact is None else exact
    return make_context(x, exact, fmt, **arithmetic.errors(fmt))


def _sum_cost(c: BoundContext) -> Float64Array:
    """(rows, 1): absolute error of log s over u, without that of the logarithm itself."""
    lost = c.count * c.exp_eta * c.internal.smallest_subnormal / c.u
    return (
        c.count + c.exp_error + c.records * (c.exp_error + 1.0) + np.log(c.count) + 2.0
        + c.log_error * c.log_sum + lost
    )  # fmt: skip


def _in_ulps(
    absolute: Float64Array, exact: Exact, fmt: FloatFormat, c: BoundContext
) -> Float64Array:
    q = exact.in_ulps(fmt)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        ulps = scale_by_power(np.minimum(absolute, 1e300), -q) + c.half_eta
        if c.output != c.internal:
            ulps = ulps + np.maximum(0.5, 0.5 * ulps)
    return np.where(np.isnan(ulps), np.inf, ulps * (1.0 + 2.0**-30) + 0.5)


def log_softmax_allowance(
    x: ArrayLike, exact: Exact, fmt: DTypeLike | FloatFormat, arithmetic: Arithmetic
) -> Float64Array:
    """Ulps allowed to each element of log_softmax; (rows, classes)."""
    output = float_format(fmt)
    c = _context(x, output, arithmetic)
    distance = c.gap + c.log_sum
    with np.errstate(over="ignore"):
        absolute = c.u * (_sum_cost(c) + 2 * np.abs(c.logsumexp) + 2 * c.gap + 2 * distance + 6.0)
    ulps = _in_ulps(absolute, exact, output, c)
    # Differences that overflow in the format are infinite, as the exact result is when rounded.
    return np.where(c.finite, ulps, 0.0)


def logsumexp_allowance(
    x: ArrayLike, exact: Exact, fmt: DTypeLike | FloatFormat, arithmetic: Arithmetic
) -> Float64Array:
    """Ulps allowed to each log-sum-exp; `x` (rows, classes), the result (rows,)."""
    output = float_format(fmt)
    unused = from_float64(np.zeros(np.shape(x)))  # no softmax goes into it
    c = _context(x, output, arithmetic, unused)
    with np.errstate(over="ignore"):
        absolute = c.u * (_sum_cost(c) + 2 * np.abs(c.maximum) + 2 * np.abs(c.logsumexp) + 4.0)
    return _in_ulps(absolute[:, 0], exact, output, c)


def backward_allowance(
    grad: Float64Array, y: Float64Array, exact: Exact, fmt: DTypeLike | FloatFormat,
    arithmetic: Arithmetic,
) -> Float64Array:  # fmt: skip
    """Ulps allowed to each element of softmax_backward; all (rows, classes)."""
    output = float_format(fmt)
    inside = arithmetic.internal(output)
    classes = y.shape[1]
    total = np.abs(grad * y).sum(axis=1, keepdims=True)
    size = np.abs(y) * (np.abs(grad) + total)
    underflow = (classes + 2.0) * inside.smallest_subnormal * (1.0 + np.abs(y))
    absolute = (classes + 4.0) * inside.unit_roundoff * size + underflow
    q = exact.in_ulps(output)[0]
    ulps = scale_by_power(absolute, -q) + 0.5
    if inside != output:
        ulps = ulps + np.maximum(0.5, 0.5 * ulps)
    return ulps * (1.0 + 2.0**-30)


def cross_entropy_allowance(
    x: Float64Array, targets: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    loss: Exact, gradient: Exact, fmt: DTypeLike | FloatFormat, arithmetic: Arithmetic,
) -> tuple[Float64Array, Float64Array]:  # fmt: skip
    """Ulps allowed to the loss (rows,) and to the gradient (rows, classes)."""
    output = float_format(fmt)
    rows = np.arange(len(x))
    c = _context(x, output, arithmetic)
    target_x = np.where(np.isfinite(x[rows, targets]), x[rows, targets], 0.0)
    gap = c.gap[rows, targets]
    with np.errstate(over="ignore"):
        absolute = c.u * (
            _sum_cost(c)[:, 0] + 2 * np.abs(c.logsumexp[:, 0]) + 2 * np.abs(target_x)
            + 2 * np.abs(c.maximum[:, 0]) + 4 * gap + 4 * c.log_sum[:, 0] + 8.0
        )  # fmt: skip
    loss_ulp = _in_ulps(absolute, loss, output, c)
    p = certified("softmax", x)[0]
    allowed = softmax_allowance(x, p, output, arithmetic)
    q_p = p.in_ulps(output)[0][rows, targets]
    q_g = gradient[rows, targets].in_ulps(output)[0]
    in_value = np.minimum(scale_by_power(np.minimum(allowed[rows, targets], 1e300), q_p), 2.0)
    in_value = in_value + 2 * output.unit_roundoff
    gradient_ulp = allowed.copy()
    # The sum of the others, taken instead of p_t - 1, has a relative error of its own.
    others = c.weights.copy()
    others[rows, targets] = 0.0
    mass = np.maximum(others.sum(axis=1), 1e-300)
    with np.errstate(invalid="ignore"):
        spread = np.where(others > 0, others * c.gap, 0.0).sum(axis=1) / mass
    relative = 2.0 * (
        c.count[:, 0] + c.records[:, 0] * (c.exp_error + 1) + 2 * c.exp_error + spread
        + np.log(c.count[:, 0]) + 4.0
    )  # fmt: skip
    relative *= 2.0 ** (output.precision - c.internal.precision)
    relative += c.count[:, 0] * c.exp_eta * scale_by_power(1.0, 0) + 1.0
    gradient_ulp[rows, targets] = np.fmax(scale_by_power(in_value, -q_g) + 1.0, relative)
    return loss_ulp, gradient_ulp
