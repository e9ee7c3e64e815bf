"""Verdicts on timings: the interval of a ratio, and many comparisons.

A cell is better or worse only if the whole interval of its ratio lies beyond the practical
threshold *and* a test that accounts for the number of comparisons agrees; equivalent if the
interval lies within the threshold; else inconclusive. How often that is wrong, measured on samples
whose true ratio is known, is in docs/comparing.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.comparison import p_values as one_sided
from harness.comparison.operands import Pair
from harness.comparison.verdict import Item, Verdict
from harness.numerics.formats import Float64Array
from harness.numerics.statistics import (
    BLOCKS,
    LEAST_PROCESSES,
    difference_interval,
    log_ratios,
)

ALPHA = 0.05
"""Chance, over a whole comparison, that any claim of better or worse is wrong."""

LEAST = 3
"""Samples below which nothing is said: three against three can separate by chance in 1 of 20."""


@dataclass(frozen=True)
class Timed:
    """The comparison of one cell's samples.

    Attributes:
        ratio: median of new / base; above 1 is slower.
        low, high: 95% interval, widened by `same`.
        same: smallest and largest factor (at most 1, at least 1) by which the same code differed.
        worse, better: p-values of the tests that the ratio lies beyond the threshold.
        halves: median ratios of the first and of the second half of the samples.
        terms: name of the baseline whose time is the unit on both sides; None where that is ns.
    """

    pair: Pair
    ratio: float
    low: float
    high: float
    same: tuple[float, float]
    worse: float
    better: float
    halves: tuple[float, float]
    terms: str | None = None


def values(record: Any, *, relative: bool) -> Float64Array:
    """Logarithms of the times of a record, a value for each block of samples, or each process.

    Args:
        relative: in terms of the baseline's samples beside them; else of ns, where the least of
            a block is what the machine disturbed least.
    """
    samples = record.samples_ns
    count = of_processes(record)
    if not relative:
        blocks = np.array_split(
            np.asarray(samples), count if count > 1 else min(BLOCKS, len(samples))
        )
        return np.log([block.min() for block in blocks])
    if record.baseline == record.implementation:
        return np.zeros(BLOCKS)
    return log_ratios(samples, record.baseline_ns, count)


def of_processes(record: Any) -> int:
    """How many processes took the samples, where they are enough to be the sample; else 1."""
    count = record.processes or 1
    whole = len(record.samples_ns) % count == 0
    return count if count >= LEAST_PROCESSES and whole else 1


def is_relative(record: Any, baseline: str | None) -> bool:
    """Whether a record has its times in terms of a baseline."""
    its = record.baseline_ns is not None or record.baseline == record.implementation
    return baseline is not None and record.baseline == baseline and its


def measure(pair: Pair, threshold: float, same: tuple[float, float], terms: str | None) -> Timed:
    """Ratio, interval and tests of a pair with samples on both sides.

    Args:
        same: factors by which the same code differed: the baseline's processes where `terms` is
            given, else the copies of the two runs.
        terms: the baseline that both sides have beside their samples; None compares ns.
    """
    base, new = (values(r, relative=terms is not None) for r in (pair.base, pair.new))
    if terms is not None and min(map(of_processes, (pair.base, pair.new))) > 1:
        same = (1.0, 1.0)  # what a process is worth is in the interval
    slower, faster = same[1] * (1.0 + threshold), same[0] / (1.0 + threshold)
    value = float(np.median(new) - np.median(base))
    low, high = difference_interval(new, base)
    middle = float(new.mean() - base.mean())
    halves = [
        math.exp(
            float(np.median(np.array_split(new, 2)[k]) - np.median(np.array_split(base, 2)[k]))
        )
        for k in (0, 1)
    ]
    return Timed(
        pair,
        math.exp(value),
        math.exp(value + low - middle) / same[1],
        math.exp(min(700.0, value + high - middle)) / same[0],
        same,
        one_sided.above(new - math.log(slower), base),
        one_sided.above(base, new - math.log(faster)),
        (halves[0], halves[1]),
        terms,
    )


def unusable(pair: Pair) -> str | None:
    """Why a pair's timings cannot be judged; None if they can."""
    for side, record in (("base", pair.base), ("new", pair.new)):
        samples = getattr(record, "samples_ns", None) or []
        if getattr(record, "noisy", None):
            why = getattr(record, "undecided", None) or "its control misses 1.0; measure again"
            return f"{side} is noisy: {why}"
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


_CONSISTENT = 0.02


def judge(timed: Timed, threshold: float) -> Item:
    """The verdict of a cell by its own interval alone; `judge_all` adds the tests."""
    upper = 1.0 + threshold
    verdict: Verdict = "inconclusive"
    slowest, fastest = max(timed.halves) / timed.same[0], min(timed.halves) / timed.same[1]
    beyond = timed.low > upper or timed.high < 1.0 / upper
    if beyond and fastest <= upper and slowest >= 1.0 / upper:
        # A load that starts in the middle slows both, by chance the one more than the other.
        why = (
            f"the whole interval lies beyond the threshold of {threshold:.0%}, but the two "
            f"halves of the samples disagree ({timed.halves[0]:.3f}, {timed.halves[1]:.3f}): "
            "the machine changed in between; measure again"
        )
    elif timed.low > upper:
        verdict, why = "worse", f"the whole interval lies above {upper:.3f}"
    elif timed.high < 1.0 / upper:
        verdict, why = "better", f"the whole interval lies below {1 / upper:.3f}"
    elif timed.low >= 1.0 / upper and timed.high <= upper:
        verdict, why = "equivalent", f"the interval lies within {threshold:.0%}"
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
    base, new = (float(np.median(r.samples_ns)) for r in (timed.pair.base, timed.pair.new))  # type: ignore[attr-defined]
    found = timed.pair.item("time", base, new, verdict, why, "ns")
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


def judge_all(cells: Sequence[Timed], threshold: float) -> tuple[list[Item], int]:
    """The verdicts of all timings together, and the size of the family of tests.

    A cell that its own interval calls better or worse keeps that verdict if its hypothesis, its
    group's or its implementation's is rejected by Holm's procedure over all of them at 5%;
    otherwise it is inconclusive.
    """
    p = p_values(cells)
    rejected = one_sided.holm(p, ALPHA)
    items = []
    for timed in cells:
        found = judge(timed, threshold)
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
