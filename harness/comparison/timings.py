"""Verdicts on timings: the interval of a ratio, the drift of the machine, and many comparisons.

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
from numpy.typing import ArrayLike

from harness.comparison import p_values as one_sided
from harness.comparison.drift import LEAST, samples_of
from harness.comparison.operands import Pair
from harness.comparison.p_values import OneSided
from harness.comparison.verdict import Item, Verdict
from harness.numerics.formats import Float64Array
from harness.numerics.statistics import (
    FEW,
    LEAST_PROCESSES,
    SEED,
    bootstrap_interval,
    by_process,
    difference_interval,
    paired_ratio,
    ratios_of_processes,
)  # fmt: skip

ALPHA = 0.05
"""Chance, over a whole comparison, that any claim of better or worse is wrong."""

ALPHA_WITHIN = 0.001
"""The same within one run. Rounds that follow each other share the state of the machine, and what
starts in their middle is no error of sampling: the price of certainty is paid in rounds."""

_CONSISTENT = 0.02


@dataclass(frozen=True)
class Timed:
    """The comparison of one cell's samples.

    Attributes:
        ratio: median of new / base; above 1 is slower.
        low, high: 95% interval, widened by `drift`.
        drift: smallest and largest factor (at most 1, at least 1) by which the same code differed:
            the copies between two runs, the controls and their originals within one.
        worse, better: tests that the ratio lies beyond the threshold.
        paired: whether the samples of a round were set against each other.
        halves: if paired, the median ratios of the first and of the second half of the rounds.
        terms: name of the baseline whose time is the unit on both sides; None where that is ns.
    """

    pair: Pair
    ratio: float
    low: float
    high: float
    drift: tuple[float, float]
    worse: OneSided
    better: OneSided
    paired: bool
    halves: tuple[float, float] | None = None
    terms: str | None = None


def ratio_of_medians(
    base: ArrayLike, new: ArrayLike, *, seed: int = SEED
) -> tuple[float, float, float]:
    """Median of `new` over median of `base`, and its 95% interval by the bootstrap.

    The samples are of different runs: nothing pairs them, and each side is resampled by itself.
    With fewer than 6 on a side, the interval is from the smallest possible ratio to the largest.

    Returns:
        The ratio, and the ends of the interval.
    """
    a, b = np.asarray(base, dtype=np.float64), np.asarray(new, dtype=np.float64)
    value = float(np.median(b) / np.median(a))
    if min(a.size, b.size) < FEW:
        return value, float(b.min() / a.max()), float(b.max() / a.min())

    def ratio(base: Float64Array, new: Float64Array, axis: int = -1) -> Any:
        return np.median(new, axis=axis) / np.median(base, axis=axis)

    return value, *bootstrap_interval((a, b), ratio, seed=seed)


def measure(
    pair: Pair,
    threshold: float,
    drift: tuple[float, float],
    *,
    paired: bool,
    beside: Pair | None = None,
) -> Timed:
    """Ratio, interval and tests of a pair with samples on both sides.

    Args:
        beside: for two runs, the records of the unchanged baseline from the same rounds, by
            whose times the samples are then divided.
    """
    a, b = relative(pair, beside)
    processes = of_processes(pair)
    paired = paired and a.size == b.size and (processes is None or len(set(processes)) == 1)
    if paired and processes is not None:
        drift = (1.0, 1.0)  # what a process is worth is in the interval
    slower, faster = drift[1] * (1.0 + threshold), drift[0] / (1.0 + threshold)
    halves = None
    if paired:
        count = 1 if processes is None else processes[0]
        summary = paired_ratio(b, a, processes=count)
        value, low, high = summary.median, summary.ci_low, summary.ci_high
        first, second = (float(np.median(r)) for r in np.split(b / a, [a.size // 2]))
        halves = (first, second)
        if processes is not None:
            logs = ratios_of_processes(b, a, count)
            worse = one_sided.of_processes(logs - math.log(slower))
            better = one_sided.of_processes(math.log(faster) - logs)
        else:
            worse, better = one_sided.of_signs(a, b / slower), one_sided.of_signs(b / faster, a)
    elif processes is not None:
        base, new = (
            np.log(np.median(by_process(s, n), axis=1))
            for s, n in zip((a, b), processes, strict=True)
        )
        ends = (new.mean() - base.mean(), *difference_interval(new, base))
        value, low, high = (float(np.exp(v)) for v in ends)
        worse = one_sided.of_processes(new - math.log(slower), base)
        better = one_sided.of_processes(base, new - math.log(faster))
    else:
        value, low, high = ratio_of_medians(a, b)
        worse, better = one_sided.of_ranks(a, b / slower), one_sided.of_ranks(b / faster, a)
    return Timed(
        pair, value, low / drift[1], high / drift[0], drift, worse, better, paired, halves,
        None if beside is None else beside.implementation,
    )  # fmt: skip


def relative(pair: Pair, beside: Pair | None) -> tuple[Float64Array, Float64Array]:
    """Samples of both sides, ns; with `beside`, divided by its samples of the same rounds."""
    a, b = (np.asarray(samples_of(r), dtype=np.float64) for r in (pair.base, pair.new))
    if beside is None:
        return a, b
    return a / np.asarray(samples_of(beside.base)), b / np.asarray(samples_of(beside.new))


def of_processes(pair: Pair) -> tuple[int, int] | None:
    """How many processes took the samples of (base, new); None if too few to be the sample."""
    base, new = (getattr(r, "processes", None) or 1 for r in (pair.base, pair.new))
    return (base, new) if min(base, new) >= LEAST_PROCESSES else None


def unusable(pair: Pair) -> str | None:
    """Why a pair's timings cannot be judged; None if they can."""
    for side, record in (("base", pair.base), ("new", pair.new)):
        r: Any = record
        samples = samples_of(r)
        if r.noisy:
            return (
                f"{side} is noisy: its A/A control misses 1.0; close other programs and measure "
                f"again"
            )
        if len(samples) < LEAST:
            return f"{side} has {len(samples)} samples, expected at least {LEAST}"
        if not all(math.isfinite(s) and s > 0 for s in samples):
            return f"{side} has samples that are no times"
        median = float(np.median(samples))
        if r.median_ns is not None and abs(median / r.median_ns - 1.0) > _CONSISTENT:
            return (
                f"{side} contradicts itself: median_ns is {r.median_ns:.6g}, the median of its "
                f"samples {median:.6g}"
            )
    return None


def judge(timed: Timed, threshold: float) -> Item:
    """The verdict of a cell by its own interval alone; `judge_all` adds the tests."""
    upper = 1.0 + threshold
    verdict: Verdict = "inconclusive"
    interval = f"[{timed.low:.3f}, {timed.high:.3f}]"
    halves = timed.halves or (timed.ratio, timed.ratio)
    slowest, fastest = max(halves) / timed.drift[0], min(halves) / timed.drift[1]
    beyond = timed.low > upper or timed.high < 1.0 / upper
    if beyond and fastest <= upper and slowest >= 1.0 / upper:
        # A load that starts in the middle slows both, by chance the one more than the other.
        why = (
            f"the whole interval {interval} lies beyond the threshold of {threshold:.0%}, but the "
            f"two halves of the rounds disagree ({halves[0]:.3f}, {halves[1]:.3f}): the machine "
            "changed in between; measure again"
        )
    elif timed.low > upper:
        verdict, why = "worse", f"the whole interval {interval} lies above {upper:.3f}"
    elif timed.high < 1.0 / upper:
        verdict, why = "better", f"the whole interval {interval} lies below {1 / upper:.3f}"
    elif timed.low >= 1.0 / upper and timed.high <= upper:
        verdict, why = "equivalent", f"the interval {interval} lies within {threshold:.0%}"
    else:
        why = f"the interval {interval} reaches across the threshold of {threshold:.0%}"
        spread = max(timed.drift[1], 1.0 / timed.drift[0])
        if spread > upper:
            took = f"took {timed.drift[0]:.2f} to {timed.drift[1]:.2f} times as long"
            why += (
                f"; the controls, the same code in another process, {took}; measure again"
                if timed.paired
                else f"; copies, the same code in both runs, {took}: the machine changed, measure "
                "both again"
            )
    if timed.terms is not None:
        why += f", in terms of {timed.terms}, which did not change"
    base, new = (float(np.median(samples_of(r))) for r in (timed.pair.base, timed.pair.new))
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
    group's or its implementation's is rejected by Holm's procedure over all of them at 5%
    (0.1% within one run); otherwise it is inconclusive.
    """
    p = p_values(cells)
    rejected = one_sided.holm(p, ALPHA_WITHIN if any(c.paired for c in cells) else ALPHA)
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
                f"chance gives as much (p = {best:.2g}); measure more rounds",
            )
        items.append(found)
    return items, len(p)
