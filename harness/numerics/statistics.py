"""The least of timing samples, and ratios of two of them, with intervals.

What disturbs a call makes it longer, never shorter, and by another factor for other code: medians
change with the neighbours of a machine, and so do their ratios. The least time of several visits,
spread over a while, is what the code takes when it is left alone, and is found again in another
run (docs/notes/least-times.md has the measurements). All functions are deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from harness.numerics.formats import Float64Array

CONFIDENCE = 0.95

ON_PAPER = 0.02
"""Chance that an interval misses, by the formula. Visits that are neighbours are alike, and end
when they look good: in trials at 2% by the formula, 1 to 5% missed (docs/notes/least-times.md)."""

LEAST_PROCESSES = 4
"""Processes below which they say too little of how processes differ: of two, Student's interval is
18 times as wide as what they differ by."""

RANK = 5
"""The least time is judged by so many of the shortest visits: they have to agree."""

_PARTS = 10
"""Into which samples are cut that do not tell their visits."""


@dataclass(frozen=True)
class Least:
    """The least time of several visits.

    If times near their lower end are about equally frequent, the least of some misses that end by
    more than c times what lies between it and the k-th with the chance (1 + c)^-(k-1) (Robson and
    Whitlock, "Estimation of a truncation point", Biometrika 1964, for k = 2). k is `RANK`: a few
    visits that were left alone are enough, and must agree.

    Attributes:
        ns: it.
        spread: what lies between it and the k-th, as a logarithm; infinite where nothing is known.
        others: k - 1; less of fewer visits.
    """

    ns: float
    spread: float
    others: int

    @property
    def low(self) -> float:
        """What more visits might still find, in 95 of 100 cases; 0 where nothing is known."""
        return self.ns * math.exp(-reach(ON_PAPER / 2.0, self))


@dataclass(frozen=True)
class Ratio:
    """A ratio of two times, and its 95% interval; 0 and infinity where nothing is known."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval, as a logarithm: 0.05 is about 5% to either side."""
        if self.low <= 0.0 or math.isinf(self.high):
            return math.inf
        return math.log(self.high / self.low) / 2.0

    def within(self, precision: float) -> bool:
        """Whether the interval reaches no further than `precision` to either side (0.05 is 5%)."""
        return self.half_width <= math.log1p(precision)

    def inverse(self) -> Ratio:
        """Of the same two times, the other way round."""
        return Ratio(1.0 / self.value, 1.0 / self.high, over(1.0, self.low))


UNKNOWN = Ratio(1.0, 0.0, math.inf)


def over(a: float, b: float) -> float:
    """a / b, infinite where b is 0: nothing is known of it."""
    return a / b if b > 0.0 else math.inf


def of_visits(ns: ArrayLike, visits: int | None = None) -> Float64Array:
    """The least sample of each visit.

    Args:
        ns: timing samples, in the order in which they were taken.
        visits: how many equal parts they are of; None: not known.

    Raises:
        ValueError: for no sample, one that is negative or not finite, or unequal parts.
    """
    array = np.asarray(ns, dtype=np.float64).ravel()
    if array.size == 0:
        raise ValueError("ns: expected at least one sample, got none")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"ns: expected finite samples of at least 0, got {array.tolist()[:8]}")
    if visits is not None and (visits < 1 or array.size % visits):
        raise ValueError(f"ns: expected {visits} equal parts, got {array.size} samples")
    parts = np.array_split(array, visits or min(_PARTS, array.size))
    return np.array([part.min() for part in parts])


def least(visits: ArrayLike) -> Least:
    """The least of the least times of visits, and how far the shortest agree.

    Args:
        visits: the least time of each, ns (`of_visits`).
    """
    ordered = np.sort(np.asarray(visits, np.float64))
    first, others = float(ordered[0]), min(RANK, ordered.size) - 1
    if others < 1 or first <= 0.0:
        return Least(first, math.inf, 1)
    spread = math.log(float(ordered[others]) / first)
    return Least(first, max(spread, _NO_SPREAD), others)


def chance(beyond: float, first: Least, second: Least | None = None) -> float:
    """The chance that a least time is by more than so much above the truth, or two are together.

    Args:
        beyond: a logarithm.
        second: of other visits, which tell nothing of the first.
    """
    if beyond <= 0.0:
        return 1.0
    if second is None:
        return float(_survives(beyond, first))
    # Either both are beyond half of it, or one is below and the other beyond what is left.
    half = beyond / 2.0
    found = _survives(half, first) * _survives(half, second)
    for one, other in ((first, second), (second, first)):
        if math.isinf(one.spread):
            continue
        start = 1.0 / (1.0 + half / one.spread)
        v = start + (1.0 - start) * (_NODES + 1.0) / 2.0  # 1 / (1 + c) of the one, from 0 to half
        left = _survives(beyond - one.spread * (1.0 / v - 1.0), other)
        found += (1.0 - start) / 2.0 * (_WEIGHTS @ (one.others * v ** (one.others - 1) * left))
    return float(min(1.0, max(found, _survives(beyond, first), _survives(beyond, second))))


def _survives(beyond: Any, of: Least) -> Any:
    """The chance that it is by more than so much above the truth: of a number, or of each."""
    return 1.0 if math.isinf(of.spread) else (1.0 + beyond / of.spread) ** -of.others


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
"""From -1 to 1, for an integral of what changes by 16 times at most."""

_NO_SPREAD = 1e-9
"""Of visits that a coarse clock says took equally long."""


def reach(alpha: float, first: Least, second: Least | None = None) -> float:
    """By how much leasts are above the truth at most, but for the chance alpha: a logarithm."""
    if math.isinf(first.spread) or (second is not None and math.isinf(second.spread)):
        return math.inf
    if second is None:
        return first.spread * float(alpha ** (-1.0 / first.others) - 1.0)
    from scipy import optimize  # takes half a second to import

    alone = max(reach(alpha, first), reach(alpha, second))
    both = reach(alpha / 2.0, first) + reach(alpha / 2.0, second)
    # wider than the two bounds, which the integral meets to some digits only
    return float(
        optimize.brentq(lambda d: chance(d, first, second) - alpha, alone / 2.0, 2.0 * both)
    )


def ratio(visits: ArrayLike, others: ArrayLike) -> Ratio:
    """The least time of some visits over that of others, with its interval (`between`).

    Args:
        visits, others: the least time of each visit, ns; taken in the same while.
    """
    return between((least(visits),), (least(others),))


def between(above: Sequence[Least], below: Sequence[Least]) -> Ratio:
    """The product of one or two least times over that of as many, with its interval.

    Each may be longer than the truth: those above make the ratio too large, those below too small.
    Of a time that is 0, below the resolution of the clock, nothing is known.
    """
    if min(one.ns for one in (*above, *below)) <= 0.0:
        return UNKNOWN
    value = math.prod(one.ns for one in above) / math.prod(one.ns for one in below)
    low, high = (math.exp(-reach(ON_PAPER / 2.0, *side)) for side in (above, below))
    return Ratio(value, value * low, over(value, high))


def logs_of_processes(visits: ArrayLike, others: ArrayLike, processes: int) -> Float64Array:
    """Logarithms of the ratios of least times, a value for each process.

    The same code in another process is a percent or two faster or slower for its place in memory,
    which no number of visits to one shows.

    Args:
        visits, others: of all processes in turn, as many of each.

    Raises:
        ValueError: they are no such parts, or one of them has a time of 0.
    """
    parts = []
    for values in (visits, others):
        array = np.asarray(values, np.float64)
        if array.size == 0 or array.size % processes:
            raise ValueError(f"visits: expected {processes} equal parts, got {array.size}")
        parts.append(array.reshape(processes, -1).min(axis=1))
        if parts[-1].min() <= 0.0:
            raise ValueError("visits: expected times above 0 ns, got 0")
    logs: Float64Array = np.log(parts[0] / parts[1])
    return logs


def ratio_of_processes(logs: Float64Array) -> Ratio:
    """The geometric mean of ratios of processes, with Student's interval."""
    from scipy import stats  # takes half a second to import

    value = math.exp(float(logs.mean()))
    if logs.size < 2:
        return Ratio(value, 0.0, math.inf)
    reach = float(stats.t.ppf((1.0 + CONFIDENCE) / 2.0, logs.size - 1) * stats.sem(logs))
    return Ratio(value, value * math.exp(-reach), value * math.exp(min(reach, 700.0)))
