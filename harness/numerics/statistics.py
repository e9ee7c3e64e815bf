"""Ratios of timings and absolute times, with intervals.

Two things stand between a timing and the code. What disturbs a call makes it longer, never shorter,
and by another factor for other code. And the clock of a core wanders by some percent, for
everything that runs on it. Visits to two implementations that are neighbours in time have the same
clock: the median of their ratios is known to a percent after a few of them, where little else runs.
Where much does, the least times of many visits, those of quiet moments, are found again. A ratio
has the interval of the two that is shorter (docs/notes/least-times.md has the measurements). All
functions are deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.numerics.formats import Float64Array

CONFIDENCE = 0.95

ON_PAPER = 0.01
"""Chance that an interval misses, by the formula. Visits that are neighbours are alike, and end
when they look good: at 1% by the formula up to 5% miss (tests/numerics/test_statistics.py)."""

LEAST_PROCESSES = 4
"""Processes below which they say too little of how processes differ: of two, Student's interval is
18 times as wide as what they differ by."""

RANK = 5
"""The least time is judged by so many of the shortest visits: they have to agree."""

BLOCKS = 8
"""Neighbouring pairs are alike, blocks of them are nearly independent."""
_LEAST_PAIRS = 6
_MOST_SPREAD = 0.1
"""Distance between the quartiles of the pairs, as a logarithm, beyond which they are not used."""
_OF_SPREAD = 0.25
"""Share of that distance which no number of pairs makes smaller (`floor`)."""

_WANDERS = 0.05
"""By which least times may differ from pairs for the clock alone: its fast moments are rare."""

_PARTS = 10
"""Into which samples are cut that do not tell their visits."""


@dataclass(frozen=True)
class Visits:
    """Visits to one implementation.

    Attributes:
        ns: the least time of each.
        at: when each was, in seconds, ascending; None where that is not known.
    """

    ns: Float64Array
    at: Float64Array | None = None

    def __len__(self) -> int:
        return self.ns.size

    @classmethod
    def in_rounds(cls, ns: ArrayLike) -> Visits:
        """One visit a round, by the time of each."""
        array = np.asarray(ns, np.float64)
        return cls(array, np.arange(array.size, dtype=np.float64))

    def parts(self, count: int) -> list[Visits]:
        """As many equal parts, one after the other.

        Raises:
            ValueError: there are none of that kind.
        """
        if not self.ns.size or self.ns.size % count:
            raise ValueError(f"visits: expected {count} equal parts, got {self.ns.size}")
        at = [None] * count if self.at is None else np.split(self.at, count)
        return [Visits(n, a) for n, a in zip(np.split(self.ns, count), at, strict=True)]


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
        return self.ns * math.exp(-reach(ON_PAPER, self))


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

    def widened(self, by: float) -> Ratio:
        """With an interval that reaches further to either side by a factor, given as logarithm."""
        return Ratio(self.value, self.low * math.exp(-by), self.high * math.exp(by))

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


_NO_SPREAD = 1e-9
"""Of visits that a coarse clock says took equally long."""


def chance(beyond: float, *of: Least) -> float:
    """The chance that a least time, or several together, are by more than so much above the truth.

    At most: of several, the sum of the chances that each is beyond its share, by its spread.

    Args:
        beyond: a logarithm.
    """
    spread = sum(one.spread for one in of)
    if beyond <= 0.0 or math.isinf(spread):
        return 1.0
    return min(1.0, len(of) * (1.0 + beyond / spread) ** -min(one.others for one in of))


def reach(alpha: float, *of: Least) -> float:
    """By how much leasts are above the truth at most, but for the chance alpha: a logarithm."""
    fewest = min(one.others for one in of)
    return sum(one.spread for one in of) * float((len(of) / alpha) ** (1.0 / fewest) - 1.0)


def between(above: Sequence[Least], below: Sequence[Least]) -> Ratio:
    """The product of some least times over that of others, with its interval.

    Each may be longer than the truth: those above make the ratio too large, those below too small.
    Of a time that is 0, below the resolution of the clock, nothing is known.
    """
    if min(one.ns for one in (*above, *below)) <= 0.0:
        return UNKNOWN
    value = math.prod(one.ns for one in above) / math.prod(one.ns for one in below)
    low, high = (math.exp(-reach(ON_PAPER, *side)) for side in (above, below))
    return Ratio(value, value * low, over(value, high))


def pairs(visits: Visits, others: Visits) -> Float64Array:
    """Logarithms of the time of each visit over that of its neighbours among the others.

    That is interpolated between the one before and the one after. Visits of a while without others
    count for nothing. Empty where there are few, where it is not known when they were, where the
    clock does not tell how long they took, and where they differ so much that something else runs.
    """
    if visits.at is None or others.at is None or min(len(visits), len(others)) < _LEAST_PAIRS:
        return np.empty(0)
    if min(visits.ns.min(), others.ns.min()) <= 0.0:
        return np.empty(0)
    gap = float(np.diff(others.at).max())
    near = (visits.at >= others.at[0] - gap) & (visits.at <= others.at[-1] + gap)
    beside = np.interp(visits.at, others.at, np.log(others.ns))
    logs = np.asarray((np.log(visits.ns) - beside)[near], np.float64)
    few = logs.size < _LEAST_PAIRS
    return np.empty(0) if few or floor(logs) > _OF_SPREAD * _MOST_SPREAD else logs


def of_blocks(logs: Float64Array) -> Float64Array:
    """The medians of some blocks of pairs, each of neighbours; of few pairs, they themselves."""
    return np.array([np.median(b) for b in np.array_split(logs, min(BLOCKS, logs.size))])


def ratio(visits: Visits, others: Visits) -> Ratio:
    """The time of some visits over that of others, taken in the same while, with its interval.

    By neighbours or by the least of both, whichever interval is the shorter; by the least where
    the two are far apart: nearly all pairs are disturbed then.
    """
    if not len(visits) or not len(others):
        return UNKNOWN
    by_least = between((least(visits.ns),), (least(others.ns),))
    logs = pairs(visits, others)
    if not logs.size:
        return by_least
    found = ratio_of_logs(of_blocks(logs), 1.0 - ON_PAPER)
    found = found.widened(max(0.0, floor(logs) - found.half_width))
    return agreed(found, by_least)


def agreed(by_pairs: Ratio, by_least: Ratio) -> Ratio:
    """The one with the shorter interval; that of least times if the two cannot agree.

    Times far below the others, relative to the baseline's, show that pairs are disturbed.
    """
    gap = max(by_pairs.low / by_least.high, by_least.low / by_pairs.high)
    return min(by_least, by_pairs, key=lambda r: r.half_width if gap <= 1.0 + _WANDERS else 0.0)


def floor(logs: Float64Array) -> float:
    """What half of an interval is at least, however many pairs there are.

    Where what disturbs them stays the same, pairs agree on a wrong ratio.
    """
    return _OF_SPREAD * float(np.subtract(*np.quantile(logs, (0.75, 0.25))))


def logs_of_processes(visits: Visits, others: Visits, processes: int) -> Float64Array:
    """Logarithms of ratios of times, a value for each process.

    The same code in another process is a percent or two faster or slower for its place in memory,
    which no number of visits to one shows.

    Args:
        visits, others: of all processes in turn, as many of each.

    Raises:
        ValueError: they are no such parts, or one of them has a time of 0.
    """
    both = list(zip(visits.parts(processes), others.parts(processes), strict=True))
    if min(one.ns.min() for sides in both for one in sides) <= 0.0:
        raise ValueError("visits: expected times above 0 ns, got 0")
    found = [pairs(*sides) for sides in both]
    if min(logs.size for logs in found):
        return np.array([np.median(logs) for logs in found])
    return np.array([math.log(a.ns.min() / b.ns.min()) for a, b in both])


def ratio_of_logs(logs: Float64Array, confidence: float = CONFIDENCE) -> Ratio:
    """The geometric mean of ratios of processes or of blocks, with Student's interval."""
    from scipy import special  # stats takes half a second to import

    value = math.exp(float(logs.mean()))
    if logs.size < 2:
        return Ratio(value, 0.0, math.inf)
    error = float(logs.std(ddof=1)) / math.sqrt(logs.size)
    by = float(special.stdtrit(logs.size - 1, (1.0 + confidence) / 2.0)) * error
    return Ratio(value, value, value).widened(min(by, 700.0))
