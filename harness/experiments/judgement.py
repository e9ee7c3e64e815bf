"""The bound that an implementation is held to on a given input, and the verdict by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bounds import BOUNDS, evaluate_bound
from harness.experiments.context import Context
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, float_format
from harness.numerics.outcomes import Outcome, outcome
from harness.numerics.ulps import ulp_error
from harness.registry.discovery import Implementation

JUDGES = 4
"""How many implementations are called and judged at a time, where nothing is timed."""
ASSUMED_EXP_ERROR_U = 8.0
"""E where the exponential could not be measured: 4 ulp, what fast vector libraries promise."""

GOOD: tuple[Outcome, ...] = ("exact", "accurate")
"""Outcomes that a reader can use as they are; what is within a wide bound may be none of them."""
_SEVERITY: tuple[Outcome, ...] = (
    "exact",
    "accurate",
    "limit",
    "inaccurate",
    "zero",
    "inf",
    "nan",
    "wrong",
)


@dataclass(frozen=True)
class Judgement:
    """What one output may be off by.

    Attributes:
        name: of the bound (`harness.bounds.BOUNDS`).
        ulp: (rows, classes), the error allowed. Where the implementation's own bound claims
            nothing (its algorithm overflows there), that of `generic` stands in: the right
            answer exists, and it has no right to miss it unnoticed.
        published_name, published_ulp: the bound of the literature, None where there is none.
        exp_error_u: the measured error E of exp that went in, in u; None if assumed.
        fmt: the format of the result.
    """

    name: str
    fmt: FloatFormat
    ulp: Float64Array
    published_name: str | None
    published_ulp: Float64Array | None
    exp_error_u: float | None

    @property
    def tolerance(self) -> Float64Array:
        """The error, in ulps, up to which a result is called accurate: the bound, and at most
        half of the digits. A wide bound excuses an algorithm, and makes no digit right."""
        return np.minimum(self.ulp, half_of_the_digits(self.fmt))

    def ratio(self, error: Float64Array) -> Float64Array:
        """Error / bound, elementwise; 0 where there is no error, infinite where none is allowed."""
        return over_bound(error, self.ulp)

    def published_ratio(self, error: Float64Array) -> float | None:
        """The largest error / published bound, None where nothing is published."""
        if self.published_ulp is None:
            return None
        return float(np.max(over_bound(error, self.published_ulp)))


def over_bound(error: Float64Array, limit: Float64Array) -> Float64Array:
    """Error / bound, elementwise; 0 where there is no error, infinite where none is allowed."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = error / limit
    unlimited = np.where(np.isfinite(error), 0.0, np.inf)
    return np.where(error == 0, 0.0, np.where(np.isinf(limit), unlimited, ratio))


def half_of_the_digits(fmt: FloatFormat) -> float:
    """2**(p/2): the ulp error beyond which half of the digits of a result are wrong."""
    return float(2.0 ** (fmt.precision / 2))


def bound_of(
    context: Context, implementation: Implementation, x: NDArray[Any], exact: Exact, dtype: str,
    *, with_published: bool = True,
) -> Judgement:  # fmt: skip
    """The bound for the input `x` (rows, classes), by the algorithm that is declared.

    Args:
        with_published: evaluate that of the literature as well.

    Raises:
        KeyError: the implementation declares a bound that does not exist.
    """
    measured = context.exp_error(implementation, dtype)
    parameters: dict[str, Any] = {
        "internal": context.arithmetic(implementation, dtype),
        "exp_error": ASSUMED_EXP_ERROR_U if measured is None else measured.error_u,
    }
    if measured is not None:
        parameters["exp_underflow"] = max(1.0, measured.underflow_eta)
    name = implementation.metadata.bound or "generic"

    def allowed(which: str, **given: Any) -> Float64Array:
        key = ("bound", which, dtype, *sorted((k, str(v)) for k, v in given.items()))
        return exact.once(key, lambda: evaluate_bound(which, x, exact, dtype, **given).ulp)

    own = allowed(name, **parameters)
    if name != "generic" and np.isinf(own).any():
        own = np.where(np.isinf(own), allowed("generic", **parameters), own)
    published = BOUNDS[name].published_name if with_published else None
    return Judgement(
        name,
        float_format(dtype),
        own,
        published,
        None if published is None else allowed(published),
        None if measured is None else measured.error_u,
    )


def worst_outcome(
    y: NDArray[Any], exact: Exact, judgement: Judgement, error: Float64Array | None = None
) -> Outcome:
    """The worst class over the rows of `y`, by the order of severity of the report.

    Args:
        error: of `y`, in ulps, where it is known already.
    """
    found: set[Outcome] = set()
    tolerance = judgement.tolerance
    error = ulp_error(y, exact) if error is None else error
    whole = outcome(y, exact, tolerance=tolerance, error=error)
    if whole in GOOD:
        return whole
    for i in range(len(y)):
        found.add(outcome(y[i], exact[i], tolerance=tolerance[i], error=error[i]))
        if "wrong" in found:
            break
    return max(found, key=_SEVERITY.index)
