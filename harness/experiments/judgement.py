"""The verdict on one output: the bound it is held to, and what a declared deviation excuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bounds import BOUNDS, evaluate_bound, over_bound
from harness.bounds.tolerances import Arithmetic
from harness.experiments.context import Context
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, float_format, to_float64
from harness.numerics.outcomes import SEVERITY, Outcome, row_outcomes
from harness.numerics.ulps import ulp_error
from harness.registry.contract import Deviation
from harness.registry.discovery import Implementation

_EXCUSING = ("overflow", "underflow", "offset", "flushes")
"""Declared deviations that explain errors beyond a bound."""

JUDGING = BoundedSemaphore(4)
"""Held while a large output is judged: that takes some twenty times its memory."""
ASSUMED_EXP_ERROR_U = 8.0
"""E where the exponential could not be measured: 4 ulp, what fast vector libraries promise."""


def arithmetic_of(context: Context, implementation: Implementation, dtype: str) -> Arithmetic:
    """What the implementation computes with: declared, and the measured error of its exp."""
    meta = implementation.metadata
    measured = context.exp_error(implementation, dtype)
    return Arithmetic(
        bound=meta.bound or "generic",
        accumulator=meta.accumulator,
        exp_error=ASSUMED_EXP_ERROR_U if measured is None else measured.error_u,
        exp_underflow=None if measured is None else max(1.0, measured.underflow_eta),
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
        unclaimed: where the implementation's own bound claims nothing.
        internal: the format that it computes in.
        fmt: the format of the result.
    """

    name: str
    fmt: FloatFormat
    ulp: Float64Array
    published_name: str | None
    published_ulp: Float64Array | None
    exp_error_u: float | None
    unclaimed: NDArray[np.bool_]
    internal: FloatFormat

    @property
    def tolerance(self) -> Float64Array:
        """The error, in ulps, up to which a result is called accurate: the bound, and at most
        half of the digits. A wide bound excuses an algorithm, and makes no digit right."""
        return np.minimum(self.ulp, half_of_the_digits(self.fmt))

    def ratio(self, error: Float64Array) -> Float64Array:
        """Error / bound, elementwise; 0 where there is no error, infinite where none is allowed."""
        return over_bound(error, self.ulp)

    def published_ratio(self, error: Float64Array) -> float | None:
        """The largest error / published bound over the elements of which the theorem speaks.

        None where nothing is published, or the theorem claims nothing of any element.
        """
        if self.published_ulp is None or np.isinf(self.published_ulp).all():
            return None
        ratio = over_bound(error, self.published_ulp)
        return float(np.max(ratio, where=np.isfinite(self.published_ulp), initial=0.0))


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
    unclaimed = np.isinf(own)
    if name != "generic" and unclaimed.any():
        own = np.where(unclaimed, allowed("generic", **parameters), own)
    published = BOUNDS[name].published_name if with_published else None
    return Judgement(
        name,
        float_format(dtype),
        own,
        published,
        None if published is None else allowed(published),
        None if measured is None else measured.error_u,
        unclaimed,
        context.arithmetic(implementation, dtype),
    )


def excuses(
    deviations: Sequence[Deviation],
    x: NDArray[Any],
    y: NDArray[Any],
    exact: Exact,
    ratio: Float64Array,
    judgement: Judgement | None = None,
) -> list[str | None]:
    """For each row, the id of the declared deviation that explains all of it beyond its bound.

    A declaration excuses what it can have caused, and no other error of the same file:

    - ``overflow`` or ``underflow``, either: exponentials without a shift leave the range of the
      format that it computes in. A result that is not finite or 0, in a row whose largest
      exponential, or the sum of all, is beyond it; a NaN (0/0) or a 0 in a row whose largest
      exponential is below the normal range, and there any result from 0 to 1 where the declared
      bound claims nothing any more;
    - ``offset``: a result between 0 and 1 that is off by no more than the rounding of
      max + log(sum), in ulps four times the larger of the two;
    - ``flushes``: a 0 in place of a subnormal number, or of a normal one up to twice the least:
      a power of two that is rounded up, with a mantissa below 1, ends there.

    In a row with a NaN or +inf nothing is excused: what is due there needs no exponential.

    Whoever asks (`check`, the pytest plugin, the accuracy and overflow experiments, the search for
    worst cases) asks here. The catalogue's cases name the deviations that they excuse themselves.

    Args:
        x, y: logits and results, (rows, classes). exact: the exact results.
        ratio: error / bound of each.
        judgement: where the declared bound claims nothing, and the format computed in; without
            it that of the results.

    Returns:
        None for a row within its bound, or with an error that nothing declared explains.
    """
    declared = {d.id for d in deviations} & set(_EXCUSING)
    rows = np.flatnonzero((ratio > 1.0).any(axis=1) | np.isnan(ratio).any(axis=1))
    found: list[str | None] = [None] * len(x)
    if not declared or not rows.size:
        return found
    internal = float_format(y.dtype) if judgement is None else judgement.internal
    error, due = ulp_error(y, exact), exact.to_float64()
    for row in rows:
        logits, result = to_float64(x[row]), to_float64(y[row])
        beyond = ~(ratio[row] <= 1.0)
        unclaimed = False if judgement is None else judgement.unclaimed[row]
        explained = _explained(logits, result, error[row], internal, unclaimed)
        vanishing = due[row] < 2.0 * internal.smallest_normal
        explained["flushes"] = (result == 0) & vanishing
        found[row] = next(
            (d for d in _EXCUSING if d in declared and explained[d][beyond].all()), None
        )
    return found


def excused(found: Sequence[str | None], ratio: Float64Array) -> str | None:
    """The declared deviations that explain all rows beyond their bounds; None if one is left."""
    beyond = np.flatnonzero(~(ratio <= 1.0).all(axis=1))
    ids = {found[int(i)] for i in beyond}
    return None if None in ids or not ids else ", ".join(sorted(str(d) for d in ids))


def _explained(
    logits: Float64Array,
    result: Float64Array,
    error: Float64Array,
    internal: FloatFormat,
    unclaimed: NDArray[np.bool_] | bool,
) -> dict[str, NDArray[np.bool_]]:
    """Which results of a row each deviation can have caused."""
    if np.isnan(logits).any() or np.isposinf(logits).any():
        return dict.fromkeys(_EXCUSING, np.zeros(logits.shape, bool))
    finite = logits[np.isfinite(logits)]
    largest = float(finite.max()) if finite.size else 0.0
    total = largest + float(np.log(np.exp(finite - largest).sum())) if finite.size else 0.0
    probability = (result >= 0) & (result <= 1)
    overflows = max(largest, total) > math.log(internal.max)
    underflows = largest < math.log(internal.smallest_normal)
    lost = overflows & (~np.isfinite(result) | (result == 0))
    lost |= underflows & (np.isnan(result) | (result == 0) | (probability & unclaimed))
    rounding = 4.0 * max(abs(largest), abs(total))
    return {
        "overflow": lost,
        "underflow": lost,
        "offset": probability & (error <= rounding),
    }


def worst_outcome(
    y: NDArray[Any], exact: Exact, judgement: Judgement, error: Float64Array
) -> Outcome:
    """The worst class over the rows of `y` (`SEVERITY`), whose error in ulps is `error`."""
    found = row_outcomes(y, exact, tolerance=judgement.tolerance, error=error)
    return max(set(found), key=SEVERITY.index)
