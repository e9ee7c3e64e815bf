"""What a bound is evaluated on: the logits, the exact result, the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from harness.numerics.exact import Exact
from harness.numerics.formats import (
    Float64Array,
    FloatFormat,
    float_format,
    scale_by_power,
    to_float64,
)

ASSUMED_LOG_ERROR = 8.0
"""E of the logarithm where it is not given: 4 ulp, what vector libraries promise."""


@dataclass(frozen=True)
class BoundContext:
    """The data of the bounds of one softmax, rows first; make it with `make_context`.

    Attributes:
        logits: float64 (rows, classes), the input lifted exactly.
        exact: the exact softmax of it.
        output: format of the result; ulps are of it.
        internal: format of the arithmetic; if it is not `output`, one more rounding follows.
        exp_error: E, the largest relative error of the exponential in u of `internal`, where its
            result is normal (1 is a correctly rounded one; `exp_error` measures it).
        exp_underflow: its largest absolute error where the result is subnormal, in units of the
            smallest subnormal.
        log_error: the largest relative error of the logarithm in u, as E.
        additions: most additions that one term passes through; n - 1 where None, which covers
            every order of summation.
        rescalings: most times R that one term of an online sum is rescaled; where None, the
            strict increases of the running maximum from left to right, and one more for a block
            that is merged below the maximum. Covers any blocked sum from left to right; lanes
            or trees must declare theirs. exp(0) = 1 is taken to be exact.
        reduction: absolute error of the reduced argument of a (mantissa, exponent) exponential,
            in u; used by `two_pass` alone.
        flushes: True where the arithmetic replaces subnormal results by zero.
    """

    logits: Float64Array
    exact: Exact
    output: FloatFormat
    internal: FloatFormat
    exp_error: float
    exp_underflow: float
    log_error: float
    additions: int | None
    rescalings: int | None
    reduction: float
    flushes: bool

    @property
    def u(self) -> float:
        """Unit roundoff of the arithmetic."""
        return self.internal.unit_roundoff

    @cached_property
    def rounding(self) -> float:
        """ln(1 + u): what one rounding costs in the logarithm, since fl(t)/t >= 1/(1 + u)."""
        return float(np.log1p(self.u))

    @cached_property
    def half_eta(self) -> float:
        """Largest absolute error of a product or quotient that underflows, in units of eta."""
        return 2.0 ** (self.internal.precision - 1) if self.flushes else 0.5

    @cached_property
    def exp_eta(self) -> float:
        """Largest absolute error of the exponential where it underflows, in units of eta."""
        return max(self.exp_underflow, self.half_eta if self.flushes else 0.0)

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Logits that take part: -inf contributes an exact zero, without any rounding."""
        return np.isfinite(self.logits)

    @cached_property
    def defined(self) -> NDArray[np.bool_]:
        """(rows, 1): the softmax of the row exists (no NaN, no +inf, not all -inf)."""
        bad = np.isnan(self.logits) | (self.logits == np.inf)
        return np.asarray(~bad.any(axis=1, keepdims=True) & self.finite.any(axis=1, keepdims=True))

    @cached_property
    def count(self) -> Float64Array:
        """(rows, 1): n, the finite logits of each row."""
        return np.asarray(np.maximum(self.finite.sum(axis=1, keepdims=True), 1), dtype=np.float64)

    @cached_property
    def maximum(self) -> Float64Array:
        """(rows, 1): the largest finite logit."""
        top = np.where(self.finite, self.logits, -np.inf).max(axis=1, keepdims=True)
        return np.where(np.isfinite(top), top, 0.0)

    @cached_property
    def gap(self) -> Float64Array:
        """Delta_j = max - x_j, 0 at masked places (infinite beyond the range of float64)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(self.finite, self.maximum - self.logits, 0.0)

    @cached_property
    def log_sum(self) -> Float64Array:
        """(rows, 1): ln s with s = sum(exp(x_i - max)), between 0 and ln n."""
        with np.errstate(under="ignore"):
            s = np.where(self.finite, np.exp(-self.gap), 0.0).sum(axis=1, keepdims=True)
        return np.asarray(np.log(np.maximum(s, 1.0)), dtype=np.float64)

    @cached_property
    def logsumexp(self) -> Float64Array:
        """(rows, 1): y = max + ln s."""
        return self.maximum + self.log_sum

    @cached_property
    def weights(self) -> Float64Array:
        """p_i in float64, 0 at masked places."""
        with np.errstate(under="ignore"):
            return np.where(self.finite, np.exp(-self.gap - self.log_sum), 0.0)

    @cached_property
    def quantum(self) -> NDArray[np.int64]:
        """q_j: one ulp of the exact result is 2**q_j in the output format."""
        return self.exact.in_ulps(self.output)[0]

    @cached_property
    def in_ulp(self) -> Float64Array:
        """abs(p_j) / ulp(p_j)."""
        return np.abs(self.exact.in_ulps(self.output)[1])

    @cached_property
    def eta_in_ulp(self) -> Float64Array:
        """eta (smallest subnormal of the arithmetic) in ulps of the result."""
        q = self.internal.emin - self.internal.precision + 1
        return scale_by_power(1.0, q - self.quantum)

    @cached_property
    def depth(self) -> Float64Array:
        """(rows, 1): most additions that one term passes through."""
        if self.additions is None:
            return self.count - 1.0
        return np.minimum(self.count - 1.0, float(self.additions))

    @cached_property
    def records(self) -> Float64Array:
        """(rows, 1): R, at most n - 1."""
        if self.rescalings is not None:
            return np.full_like(self.count, float(self.rescalings))
        running = np.maximum.accumulate(np.where(self.finite, self.logits, -np.inf), axis=1)
        with np.errstate(invalid="ignore"):
            rises = (running[:, 1:] > running[:, :-1]) & np.isfinite(running[:, :-1])
        found = rises.sum(axis=1, keepdims=True) + 1.0
        return np.asarray(np.minimum(found, self.count - 1.0), dtype=np.float64)


def make_context(
    logits: ArrayLike,
    exact: Exact,
    output: DTypeLike | FloatFormat | None = None,
    *,
    internal: DTypeLike | FloatFormat | None = None,
    exp_error: float = 1.0,
    exp_underflow: float | None = None,
    log_error: float | None = None,
    additions: int | None = None,
    rescalings: int | None = None,
    reduction: float = 1.0,
    flushes: bool = False,
) -> BoundContext:
    """A `BoundContext`, with its defaults filled in.

    Args:
        logits: (rows, classes) or (classes,), of the format in which they were given.
        exact: their exact softmax, same shape.
        output: format of the result; by default that of the logits.
        internal: format of the arithmetic; by default `output`.
        exp_error, exp_underflow, log_error, additions, rescalings, reduction, flushes: as in
            `BoundContext`. By default `exp_underflow` is E, at least 1, and `log_error` is
            `ASSUMED_LOG_ERROR`, at least E; `exp_error` measures the other two.

    Raises:
        ValueError: for unequal shapes, no element, or an error that is negative or not finite.
    """
    array = np.asarray(logits)
    if array.shape != exact.shape or array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"logits: expected (rows, classes) with the shape {exact.shape} of exact, "
            f"got {array.shape}"
        )
    given = (exp_error, exp_underflow, log_error, reduction)
    if any(v is not None and not 0 <= v < np.inf for v in given):
        raise ValueError(
            f"exp_error, exp_underflow, log_error, reduction: expected at least 0, got {given}"
        )
    shape = (1, array.size) if array.ndim == 1 else array.shape
    out = float_format(array.dtype if output is None else output)
    return BoundContext(
        logits=to_float64(array).reshape(shape),
        exact=exact.reshape(*shape),
        output=out,
        internal=out if internal is None else float_format(internal),
        exp_error=exp_error,
        exp_underflow=max(1.0, exp_error) if exp_underflow is None else exp_underflow,
        log_error=max(ASSUMED_LOG_ERROR, exp_error) if log_error is None else log_error,
        additions=additions,
        rescalings=rescalings,
        reduction=reduction,
        flushes=flushes,
    )


def numpy_pairwise_depth(n: int) -> int:
    """Additions that one term passes through in NumPy's pairwise sum of n contiguous terms.

    numpy/_core/src/umath/loops_utils.h.src: below 8 terms one after the other; up to 128 with
    eight accumulators, joined in a tree of three levels, then the rest; above, halves whose
    first is a multiple of eight. For one reduction over a contiguous axis without casting:
    strided axes are summed one after the other (n - 1).
    """
    if n < 8:
        return max(n - 1, 0)
    if n <= 128:
        return n // 8 - 1 + 3 + n % 8
    half = n // 2
    half -= half % 8
    return 1 + max(numpy_pairwise_depth(half), numpy_pairwise_depth(n - half))
