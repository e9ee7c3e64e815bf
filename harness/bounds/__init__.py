"""A-priori error bounds of the softmax algorithms, by name, evaluated elementwise.

A correct implementation cannot exceed the derived bound of its algorithm (docs/bounds.md, tested in
seeded campaigns): above it there is a bug, in the code or in the bound. A published bound is first
order in u and assumes exponentials accurate to u: it is drawn, and no implementation fails by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from harness.bounds.context import BoundContext, make_context, numpy_pairwise_depth
from harness.bounds.formulas import BOUNDS, Bound, BoundResult
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat
from harness.numerics.ulps import ulp_error

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundContext",
    "BoundResult",
    "error_over_bound",
    "evaluate_bound",
    "make_context",
    "numpy_pairwise_depth",
    "over_bound",
]


def evaluate_bound(
    name: str,
    logits: ArrayLike,
    exact: Exact,
    output: DTypeLike | FloatFormat | None = None,
    **parameters: Any,
) -> BoundResult:
    """The bound `name` at each element; parameters as for `make_context`. Result (rows, classes).

    Raises:
        KeyError: for an unknown name, listing the known ones.
    """
    if name not in BOUNDS:
        raise KeyError(f"bound: expected one of {', '.join(BOUNDS)}; got {name}")
    return BOUNDS[name].evaluate(make_context(logits, exact, output, **parameters))


def error_over_bound(
    computed: ArrayLike,
    exact: Exact,
    bound: BoundResult,
    fmt: DTypeLike | FloatFormat | None = None,
) -> Float64Array:
    """Ulp error / bound, elementwise; above 1 is a bug in the code or in the bound.

    The shape is that of `computed`; see `over_bound` for bounds of 0 and of infinity.
    """
    error = ulp_error(computed, exact, fmt)
    return over_bound(error, bound.ulp.reshape(error.shape))


def over_bound(error: Float64Array, limit: Float64Array) -> Float64Array:
    """Error / bound, elementwise, of errors and bounds in ulps.

    0 where there is no error; infinite where there is one and none is allowed. A bound that claims
    nothing (infinite) excuses every finite error, and no NaN or infinity in the place of a number:
    their error is infinite, and so is the ratio.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = error / limit
    unlimited = np.where(np.isfinite(error), 0.0, np.inf)
    return np.where(error == 0, 0.0, np.where(np.isinf(limit), unlimited, ratio))
