"""Verdicts on timings: the interval of a ratio, and many comparisons.

A cell is better or worse only if the whole interval of its ratio lies beyond the practical
threshold *and* a test that accounts for the number of comparisons agrees; equivalent if the
interval lies within the threshold; else inconclusive. How often that is wrong, measured on samples
whose true ratio is known, is in docs/comparing.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from harness.comparison import p_values as one_sided
from harness.comparison.operands import Pair
from harness.comparison.verdict import Item, Verdict
from harness.numerics.formats import Float64Array
from harness.numerics.statistics import (
    LEAST_PROCESSES,
    ON_PAPER,
    Least,
    Visits,
    agreed,
    between,
    chance,
    floor,
    least,
    logs_of_processes,
    of_blocks,
    of_visits,
    pairs,
)

ALPHA = 0.05
"""Chance, over a whole comparison, that any claim of better or worse is wrong."""

LEAST = 3
"""Samples below which nothing is said."""

ONE_PROCESS = 1.25
"""What two processes of the same code have been seen to differ by in single cells, and a bit: where
the system puts code and data is decided once for each (docs/notes/verdict-quality.md)."""


@dataclass(frozen=True)
class Timed:
    """The comparison of one cell's times.

    Attributes:
        ratio: time of new / base; above 1 is slower.
        low, high: 95% interval, widened by `same`.
        same: smallest and largest factor (at most 1, at least 1) by which the same code differed.
        worse, better: p-values of the tests that the ratio lies beyond the threshold.
        alike: the larger p-value of the two tests that it lies within (Schuirmann 1987), over
            processes; 1 of one process, where the interval decides.
        terms: name of the baseline whose time is the unit on both sides; None where that is ns.
        alone: whether one process took the times of a side.
    """

    pair: Pair
    ratio: float
    low: float
    high: float
    same: tuple[float, float]
    worse: float
    better: float
    terms: str | None = None
    alone: bool = False
    alike: float = 1.0


def visits_of(record: Any) -> Visits:
    """The visits of a record: the least time of each, and when it was."""
    samples, visits = record.samples_ns, getattr(record, "visits", None)
    ns = of_visits(samples, visits if visits and len(samples) % visits == 0 else None)
    at = getattr(record, "visits_at", None)
    known = at is not None and len(at) == ns.size and all(a <= b for a, b in pairwise(at))
    return Visits(ns, np.array(at) if known else None)


def of_processes(*records: Any) -> int:
    """How many processes took the samples of all, where they are enough for an interval; else 1."""
    counts = {r.processes or 1 for r in records}
    count = min(counts)
    whole = all(len(visits_of(r)) % count == 0 for r in records)
    return count if len(counts) == 1 and count >= LEAST_PROCESSES and whole else 1


@dataclass(frozen=True)
class Times:
    """The times of a cell on both sides, and what they are set against.

    Attributes:
        base, new: the records.
        its: the baseline's records beside them, one of each side; None where times themselves are
            compared: those of one round, or of two machines that copies hold together.
        together: whether both are of one run, visited in the same rounds.
    """

    base: Any
    new: Any
    its: tuple[Any, Any] | None = None
    together: bool = False

    @property
    def sides(self) -> list[list[Any]]:
        """Base and new, each with the record that it is set against in its own run, if any."""
        beside = self.its or (None, None)
        return [[r for r in both if r] for both in zip((self.base, self.new), beside, strict=True)]

    @property
    def of_processes(self) -> tuple[Float64Array, Float64Array] | None:
        """Logarithms of new and of base, a value for each process; None of one process."""
        counts = [of_processes(*side) for side in self.sides]
        if min(counts) == 1 or (self.together and len(set(counts)) > 1):
            return None
        if self.together:
            both = visits_of(self.new), visits_of(self.base)
            return logs_of_processes(*both, counts[0]), np.zeros(2)
        base, new = (
            logs_of_processes(visits_of(side[0]), _beside(side), count)
            for side, count in zip(self.sides, counts, strict=True)
        )
        return new, base

    @property
    def of_neighbours(self) -> tuple[Float64Array, Float64Array] | None:
        """The same of one process, a value for each visit and its neighbours; None without."""
        if self.together:
            new, base = pairs(visits_of(self.new), visits_of(self.base)), np.zeros(2)
        else:
            base, new = (pairs(visits_of(side[0]), _beside(side)) for side in self.sides)
        return (new, base) if new.size and base.size else None

    @property
    def leasts(self) -> tuple[list[Least], list[Least]]:
        """Of one process each: those of the ratio's numerator, and those of its denominator."""
        base, new = self.its or (None, None)
        above, below = [self.new, base], [self.base, new]
        return (
            [least(visits_of(record).ns) for record in above if record],
            [least(visits_of(record).ns) for record in below if record],
        )


def _beside(side: Sequence[Any]) -> Visits:
    """What the times of a side are set against: those of its baseline, or a nanosecond."""
    mine = visits_of(side[0])
    return visits_of(side[1]) if side[1:] else Visits(np.ones(len(mine)), mine.at)


def measure(
    pair: Pair, times: Times, threshold: float, same: tuple[float, float], terms: str | None = None
) -> Timed:
    """Ratio, interval and tests of a pair with samples on both sides.

    Args:
        same: factors by which the same code differed: two processes of the baseline, or the copies
            of the two runs.
        terms: the baseline that the times are set against.
    """
    logs = processes = times.of_processes
    if processes is not None and (times.together or terms is not None):
        same = (1.0, 1.0)  # what a process is worth is in the interval
    slower, faster = same[1] * (1.0 + threshold), same[0] / (1.0 + threshold)
    if logs is not None:
        found = one_sided.difference(*logs)
    else:
        above, below = times.leasts
        found = between(above, below)
        worse = one_sided.floored(chance(math.log(found.value / slower), *above))
        better = one_sided.floored(chance(math.log(faster / found.value), *below))
        neighbours = times.of_neighbours
        if neighbours is not None:
            new, base = map(of_blocks, neighbours)
            by = one_sided.difference(new, base, 1.0 - ON_PAPER)
            short = math.hypot(*map(floor, neighbours)) - by.half_width
            found = agreed(by.widened(max(0.0, short)), found)
            logs = (new, base) if found.value == by.value else None
    alike = 1.0
    if logs is not None:
        worse = one_sided.above(logs[0] - math.log(slower), logs[1])
        better = one_sided.above(logs[1], logs[0] - math.log(faster))
    if processes is not None:
        new, base = processes
        lowest, highest = same[1] / (1.0 + threshold), same[0] * (1.0 + threshold)
        alike = max(
            one_sided.above(new - math.log(lowest), base),
            one_sided.above(base, new - math.log(highest)),
        )
    if doubtful(pair) is not None:
        worse = better = 1.0
    low, high = found.low / same[1], found.high / same[0]
    alone = processes is None
    return Timed(pair, found.value, low, high, same, worse, better, terms, alone, alike)


def unusable(pair: Pair) -> str | None:
    """Why a pair's timings cannot be judged; None if they can."""
    for side, record in (("base", pair.base), ("new", pair.new)):
        samples = getattr(record, "samples_ns", None) or []
        visits, disturbed = (getattr(record, n, None) for n in ("visits", "disturbed"))
        if (visits is None or disturbed == 1.0) and (noise := _noise(side, record)):
            return noise  # how far its samples agree tells nothing
        if len(samples) < LEAST:
            return f"{side} has {len(samples)} samples, expected at least {LEAST}"
        if not all(math.isfinite(s) and s > 0 for s in samples):
            return f"{side} has samples that are no times"
        median = getattr(record, "median_ns", None)
        if median is not None and abs(float(np.median(samples)) / median - 1.0) > _CONSISTENT:
            return (
                f"{side} contradicts itself: median_ns is {median:.6g}, the median of its "
                f"samples {float(np.median(samples)):.6g}"
            )
    return None


def _noise(side: str, record: Any) -> str | None:
    if not getattr(record, "noisy", None):
        return None
    why = getattr(record, "undecided", None) or "its control misses 1.0; measure again"
    return f"{side} is noisy: {why}"


def doubtful(pair: Pair) -> str | None:
    """Why no difference between the two is claimed, whatever their intervals say.

    A time that is not known to the precision that its run wanted may have been found in no quiet
    moment. That two are alike is seldom chance; that they differ is.
    """
    return _noise("base", pair.base) or _noise("new", pair.new)


_CONSISTENT = 0.02


def judge(timed: Timed, threshold: float) -> Item:
    """The verdict of a cell by its own interval alone; `judge_all` adds the tests."""
    upper = 1.0 + threshold
    verdict: Verdict = "inconclusive"
    if timed.low > upper:
        verdict, why = "worse", f"the whole interval lies above {upper:.3f}"
    elif timed.high < 1.0 / upper:
        verdict, why = "better", f"the whole interval lies below {1 / upper:.3f}"
    elif (timed.low >= 1.0 / upper and timed.high <= upper) or timed.alike <= ALPHA:
        verdict, why = "equivalent", f"the interval lies within {threshold:.0%}"
        if timed.alike <= ALPHA:
            why = f"two tests at {ALPHA:.0%} say that it lies within {threshold:.0%}"
    else:
        why = f"the interval reaches across the threshold of {threshold:.0%}"
        spread = max(timed.same[1], 1.0 / timed.same[0])
        if spread > upper:
            why += (
                f"; copies, the same code in both runs, differed by {spread - 1.0:.0%}: the "
                "machine changed, measure both again"
                if timed.terms is None
                else f"; two processes of {timed.terms} differed by {spread - 1.0:.0%}: measure "
                "again with --processes 8"
            )
    if timed.terms is not None:
        why += f", in terms of {timed.terms}"
    doubt = doubtful(timed.pair)
    if verdict in ("worse", "better") and doubt is not None:
        verdict, why = "inconclusive", f"{verdict} by itself ({why}), but {doubt}"
    found = timed.pair.by_time(verdict, why)
    return replace(found, ratio=timed.ratio, low=timed.low, high=timed.high)


Hypothesis = tuple[str, ...]


def _hypotheses(timed: Timed) -> tuple[Hypothesis, ...]:
    """The cell, its group (regime, format, threads) and its implementation."""
    r: Any = timed.pair.new
    name = timed.pair.implementation
    group = (name, str(r.operation), str(r.regime), str(r.dtype), str(r.threads))
    return (*group, timed.pair.where), group, (name,)


def p_values(cells: Sequence[Timed]) -> dict[tuple[Hypothesis, int], float]:
    """One-sided p-values of every hypothesis in both directions (+1 worse, -1 better).

    The hypothesis of a cell is that its ratio is not beyond the threshold, of a group and of an
    implementation that none of its cells is (`one_sided.together`). Where a group is all of an
    implementation, or a cell all of its group, the two are one hypothesis, tested once.
    """
    members: dict[Hypothesis, list[int]] = {}
    for number, timed in enumerate(cells):
        for hypothesis in dict.fromkeys(_hypotheses(timed)):
            members.setdefault(hypothesis, []).append(number)
    once = {tuple(numbers): hypothesis for hypothesis, numbers in members.items()}
    found = {}
    for numbers, hypothesis in once.items():
        inside = [cells[n] for n in numbers]
        found[hypothesis, 1] = one_sided.together([t.worse for t in inside])
        found[hypothesis, -1] = one_sided.together([t.better for t in inside])
    return found


def _may_be_its_process(timed: Timed, threshold: float) -> bool:
    """Whether a difference is no larger than one between two processes of the same code."""
    beyond = (1.0 + threshold) * ONE_PROCESS
    host = getattr(timed.pair.new, "experiment", None) == "throughput"
    return host and timed.alone and timed.low <= beyond and timed.high >= 1.0 / beyond


def judge_all(cells: Sequence[Timed], threshold: float) -> tuple[list[Item], int]:
    """The verdicts of all timings together, and the size of the family of tests.

    A cell that its own interval calls better or worse keeps that verdict if its hypothesis, its
    group's or its implementation's is rejected by Holm's procedure over all of them at 5%;
    otherwise it is inconclusive. So is a difference of up to `ONE_PROCESS` of one process each
    that most of the other cells of the implementation do not share; where there is no other cell,
    nothing speaks against it.
    """
    p = p_values(cells)
    rejected = one_sided.holm(p, ALPHA)
    own = [judge(timed, threshold) for timed in cells]
    votes = Counter((i.implementation, i.verdict) for i in own)
    of_all = Counter(i.implementation for i in own)
    items = []
    for timed, found in zip(cells, own, strict=True):
        others = of_all[found.implementation] - 1
        alone = others > 0 and 2 * (votes[found.implementation, found.verdict] - 1) < others
        if found.verdict in ("worse", "better") and alone and _may_be_its_process(timed, threshold):
            found = replace(
                found,
                verdict="inconclusive",
                reason=f"{found.verdict} by itself ({found.reason}), but most cells of "
                f"{found.implementation} do not agree, and two processes of the same code have "
                f"differed by {ONE_PROCESS - 1.0:.0%} in one: measure both with --processes 8",
            )
        sign = {"worse": 1, "better": -1}.get(found.verdict, 0)
        tested = [(h, sign) for h in _hypotheses(timed) if (h, sign) in p]
        if sign and not rejected.intersection(tested):
            best = min(p[t] for t in tested)
            found = replace(
                found,
                verdict="inconclusive",
                reason=f"{found.verdict} by itself ({found.reason}), but among {len(p)} tests "
                f"chance gives as much (p = {best:.2g}); measure longer",
            )
        items.append(found)
    return items, len(p)
