"""The exponential inside, over its whole range: holes, seams and ends that few random logits meet.

Rows of thousands of logits below a maximum of 0, so that no shift rounds. What the sum is off by
all elements of a row have in common; without it, each is known to the error of one exponential,
one rounding and one product, however long the row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.bounds import evaluate_bound
from harness.experiments.conformance.call import Array, Step
from harness.experiments.conformance.case import NATIVE, Case
from harness.experiments.conformance.case_run import Trial, vanishing
from harness.experiments.conformance.expected import expected_of, largest_at
from harness.experiments.conformance.observation import Observation
from harness.numerics.exact import from_float64
from harness.numerics.formats import Float64Array, to_float64
from harness.numerics.ulps import signed_ulp_error

_ROWS, _CLASSES = 32, 4096
_NEAR = 64
"""So many of a row lie near its maximum, where no formula rounds much: they show the sum."""
_SLACK = 12.0
"""In u: the logarithm of a long sum against that of two classes, and the common factor itself."""


def arguments(trial: Trial) -> Array:
    """(rows, classes): 0 and random logits below it, near it and to where nothing is left."""
    rng = trial.rng(16, 58)
    end = -float(np.log(trial.fmt.smallest_subnormal)) + 1.0
    d = rng.uniform(0.0, end, size=(_ROWS, _CLASSES))
    d[1::4] = np.exp(rng.uniform(np.log(trial.fmt.unit_roundoff), 3.0, size=d[1::4].shape))
    d[:, :_NEAR] = rng.uniform(0.0, 0.7, size=(_ROWS, _NEAR))
    d[:, 0] = 0.0
    return trial.array(-d)


def _allowed(trial: Trial, x: Array) -> Float64Array:
    """What each element may be off by relatively: the bound of two classes, and the slack."""
    pairs = np.stack([np.zeros(x.size), to_float64(x).ravel()], axis=1)
    e = np.exp(pairs)
    # The relative part of a bound comes from the logits alone: no certified result is needed.
    nearly = from_float64(e / e.sum(axis=1, keepdims=True))
    a = trial.arithmetic
    bound = evaluate_bound(
        a.bound, pairs, nearly, trial.fmt,
        internal=a.internal(trial.fmt), exp_error=a.exp_error, exp_underflow=a.exp_underflow,
    )  # fmt: skip
    relative = bound.relative[:, 1].reshape(x.shape)
    return np.asarray(relative + _SLACK * trial.fmt.unit_roundoff)


def sweep(trial: Trial) -> Sequence[Observation]:
    x = arguments(trial)
    step = Step("softmax", (x,))
    result, observed = trial.observed(step)
    if observed.grade != "pass":
        return [observed]
    exact = expected_of(step, trial.fmt, trial.arithmetic)[0].exact
    got = result.arrays[0]
    size = exact.in_ulps(trial.fmt)[1]
    error = signed_ulp_error(got, exact, trial.fmt)
    common = np.median(error[:, :_NEAR] / size[:, :_NEAR], axis=1, keepdims=True)
    eta = max(2.0, trial.arithmetic.exp_underflow or 2.0) + 1.0
    own = np.abs(error - common * size)
    allowed = _allowed(trial, x) * size * (1.0 + np.abs(common)) + eta
    bad = (own > allowed) & ~vanishing(exact, trial.fmt)
    if not bad.any():
        return [observed]
    i, j = largest_at(np.where(bad, own / allowed, 0.0))
    text = (
        f"{int(bad.sum())} of {bad.size} exponentials are off those of the rest of their row; "
        f"that of {float(x[i, j]).hex()} = {float(x[i, j]):.9g} by {own[i, j]:.4g} ulp, "
        f"{allowed[i, j]:.4g} allowed"
    )
    return [trial.broken(step, text, "inaccurate")]


CASES = (
    Case("exponential", None, "exponentials over the whole range, each against the rest of its row",
         sweep, ("softmax",), NATIVE, deviations=("underflow", "flushes", "last-bit")),
)  # fmt: skip
