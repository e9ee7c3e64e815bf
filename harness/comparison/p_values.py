"""One-sided tests that a ratio of times lies beyond a threshold: one cell, several, among many.

A cell has a value for each process or block of neighbours, logarithms that are nearly independent
and nearly normal, for Student's or Welch's t-test; or the chance that least times are as far above
the truth (`numerics.statistics.chance`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.numerics.formats import Float64Array
from harness.numerics.statistics import CONFIDENCE, Ratio

_SMALLEST_P = 1e-10
"""Nothing is surer: times are not normal that far out, and Stouffer's sum of a 0 is infinite."""
_LARGEST_LOG = 700.0
"""Of a few samples an interval can have ends far beyond those that `exp` has a number for (709)."""


def floored(p: float) -> float:
    """A p-value, or the smallest that is told."""
    return max(p, _SMALLEST_P)


def difference(values: Float64Array, others: Float64Array, confidence: float = CONFIDENCE) -> Ratio:
    """The ratio of geometric means, of logarithms, with its interval by Welch's t."""
    from scipy import stats

    value = math.exp(float(values.mean() - others.mean()))
    if np.ptp(values) == 0.0 == np.ptp(others):
        return Ratio(value, value, value)
    found = stats.ttest_ind(values, others, equal_var=False)
    low, high = found.confidence_interval(confidence)
    return Ratio(value, math.exp(max(-_LARGEST_LOG, low)), math.exp(min(_LARGEST_LOG, high)))


def above(values: Float64Array, others: Float64Array) -> float:
    """p-value of Welch's test that the mean of `values` is above that of `others`.

    Values without any scatter, such as those of a baseline in terms of itself, are a number.
    """
    from scipy import stats

    if np.ptp(values) == 0.0 == np.ptp(others):
        return _SMALLEST_P if values[0] > others[0] else 1.0
    if min(values.size, others.size) < 2:
        return 1.0
    if np.ptp(others) == 0.0:
        found = stats.ttest_1samp(values, others[0], alternative="greater")
    elif np.ptp(values) == 0.0:
        found = stats.ttest_1samp(others, values[0], alternative="less")
    else:
        found = stats.ttest_ind(values, others, equal_var=False, alternative="greater")
    return floored(float(found.pvalue))


def together(p: Sequence[float]) -> float:
    """One p-value for several cells, by Stouffer's method; null hypothesis: none is beyond."""
    from scipy.special import ndtr, ndtri  # scipy.stats' own takes twenty times as long

    if len(p) == 1:
        return p[0]
    clipped = np.minimum(p, 1.0 - _SMALLEST_P)  # a p of 1 is minus infinity there
    return floored(float(ndtr(ndtri(clipped).sum() / math.sqrt(len(p)))))


def holm(p: Mapping[Any, float], alpha: float) -> set[Any]:
    """The hypotheses rejected at family-wise level `alpha` (Holm 1979)."""
    rejected: set[Any] = set()
    for rank, key in enumerate(sorted(p, key=lambda k: p[k])):
        if p[key] > alpha / (len(p) - rank):
            break
        rejected.add(key)
    return rejected
