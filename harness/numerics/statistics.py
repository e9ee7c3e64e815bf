"""Ratios and medians of timing samples, with intervals.

Every statistic behind a published timing is here. Neighbouring samples share the state of the
machine and are skewed to the right: an interval is that of the medians of blocks of neighbours, or
of processes, which are nearly independent and nearly normal. All are deterministic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.numerics.formats import Float64Array

CONFIDENCE = 0.95

BLOCKS = 10
"""Blocks that samples are cut into: enough for Student's interval, and long for what lasts."""

LEAST_PROCESSES = 4
"""Processes below which they say too little of how processes differ: of two, Student's interval is
18 times as wide as what they differ by."""


@dataclass(frozen=True)
class SampleSummary:
    """Timing samples in brief.

    Attributes:
        count: number of samples.
        best: least of them, in their unit (ns): what disturbed them least.
        best_high: median of the least of each block: that far the machine let them come as a rule.
        median, ci_low, ci_high: median and its 95% interval, same unit.
    """

    count: int
    best: float
    best_high: float
    median: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class RatioSummary:
    """A ratio of two times, from pairs of samples.

    Attributes:
        pairs: number of pairs that count (`quiet`).
        median: median of samples / baseline over the pairs (below 1: faster than the baseline); of
            several processes, the geometric mean of their medians.
        ci_low, ci_high: its interval; all positive numbers for a single pair.
    """

    pairs: int
    median: float
    ci_low: float
    ci_high: float

    @property
    def half_width(self) -> float:
        """Half the interval, as a logarithm: 0.05 is about 5% to either side."""
        if self.ci_low <= 0.0 or math.isinf(self.ci_high):
            return math.inf
        return math.log(self.ci_high / self.ci_low) / 2.0

    def within(self, precision: float) -> bool:
        """Whether the interval reaches no further than `precision` to either side (0.05 is 5%)."""
        return self.half_width <= math.log1p(precision)


def _samples(values: ArrayLike, name: str) -> Float64Array:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one sample, got none")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"{name}: expected finite samples of at least 0, got {array.tolist()[:8]}")
    return array


def block_medians(values: Float64Array, processes: int = 1) -> Float64Array:
    """Medians of blocks of neighbouring values: ten blocks, or those of each process.

    Args:
        values: one a sample, in order; of several processes, in equal parts, one after the other.

    Raises:
        ValueError: the values are no such parts.
    """
    if processes > 1:
        if values.size % processes:
            raise ValueError(f"samples: expected {processes} equal parts, got {values.size}")
        parts = np.split(values, processes)
    else:
        parts = np.array_split(values, min(BLOCKS, values.size))
    return np.array([np.median(part) for part in parts])


def _around(value: float, blocks: Float64Array, alpha: float) -> tuple[float, float]:
    """Student's interval of the mean of `blocks`, logarithms, put around `value`, no logarithm."""
    from scipy import stats  # takes half a second to import

    if blocks.size < 2:
        return 0.0, math.inf
    reach = float(stats.t.ppf(1.0 - alpha / 2.0, blocks.size - 1) * stats.sem(blocks))
    return value * math.exp(-reach), value * math.exp(min(reach, 700.0))


def summarise_samples(ns: ArrayLike, *, processes: int = 1) -> SampleSummary:
    """Least and median of timing samples in ns, with the interval of the median.

    Args:
        processes: that took the samples, in equal parts and in order.

    Raises:
        ValueError: for no sample, or one that is negative or not finite; for unequal parts.
    """
    array = _samples(ns, "ns")
    median, best = float(np.median(array)), float(array.min())
    least = [part.min() for part in np.array_split(array, min(BLOCKS, array.size))]
    low, high = median, median
    if best > 0.0:
        low, high = _around(median, block_medians(np.log(array), processes), 1.0 - CONFIDENCE)
    return SampleSummary(array.size, best, float(np.median(least)), median, low, high)


def log_ratios(samples: ArrayLike, baseline: ArrayLike, processes: int = 1) -> Float64Array:
    """Logarithms of samples / baseline by blocks of pairs (`block_medians`): nearly independent.

    Pairs in which either took no time at all (below the resolution of the timer) cannot be
    compared: they are left out where one process took all.

    Raises:
        ValueError: for unequal lengths, no usable pair, or samples that are not times.
    """
    return _blocks(samples, baseline, processes)[1]


def quiet(samples: ArrayLike, baseline: ArrayLike) -> NDArray[np.bool_]:
    """Which pairs of samples were taken while the machine let both sides run.

    A neighbour on the same core, the other thread of it say, slows different code differently, by
    1.4 or by 1.7 times: the ratio itself changes, for a tenth of a second or for minutes. Pairs
    count in which neither sample took more than 1.25 times the 5% quantile of its side; where
    fewer than a sixth, or than five, are left, all count. The ratio is so that of undisturbed
    samples, as the least time is that of an undisturbed one.
    """
    found = np.ones(np.size(samples), np.bool_)
    for side in (samples, baseline):
        array = np.asarray(side, np.float64)
        found &= array <= _DISTURBED * np.quantile(array, 0.05, method="higher")
    enough = max(_QUIET, found.size // 6)
    return found if found.sum() >= enough else np.ones_like(found)


_DISTURBED, _QUIET = 1.25, 5


def _blocks(
    samples: ArrayLike, baseline: ArrayLike, processes: int
) -> tuple[Float64Array, Float64Array]:
    """Logarithms of the ratios of quiet pairs, and their medians by blocks, or by processes."""
    a, b = _samples(samples, "samples"), _samples(baseline, "baseline")
    if a.size != b.size:
        raise ValueError(
            f"samples, baseline: expected one sample a pair each, got {a.size} and {b.size}"
        )
    usable = (a > 0) & (b > 0)
    if not usable.any() or (processes > 1 and not usable.all()):
        raise ValueError("samples, baseline: expected times above 0 ns, got zeros")
    if processes == 1:
        a, b = a[usable], b[usable]
    elif a.size % processes:
        raise ValueError(f"samples: expected {processes} equal parts, got {a.size}")
    parts = [
        np.log(mine[kept] / its[kept])
        for mine, its in zip(np.split(a, processes), np.split(b, processes), strict=True)
        for kept in [quiet(mine, its)]
    ]
    if processes == 1:
        return parts[0], block_medians(parts[0])
    return np.concatenate(parts), np.array([np.median(part) for part in parts])


def paired_ratio(
    samples: ArrayLike, baseline: ArrayLike, *, processes: int = 1, alpha: float = 1.0 - CONFIDENCE
) -> RatioSummary:
    """Median of samples / baseline, pair by pair, with its interval.

    Sample k of one is set against sample k of the other, its neighbour in time, so that what slows
    both cancels. The interval is Student's over blocks of pairs. That of one process says what its
    next pairs would give, not what another process would; with several, those are the sample.

    Args:
        samples: times, ns.
        baseline: the baseline's, same length.
        processes: that took the samples, in equal parts and in order.
        alpha: chance that the interval misses.

    Raises:
        ValueError: for unequal lengths, no usable pair, or samples that are not times.
    """
    logs, blocks = _blocks(samples, baseline, processes)
    value = math.exp(float(blocks.mean() if processes > 1 else np.median(logs)))
    return RatioSummary(logs.size, value, *_around(value, blocks, alpha))


def difference_interval(values: Float64Array, others: Float64Array) -> tuple[float, float]:
    """95% interval of mean(values) - mean(others), by Welch's t."""
    from scipy import stats

    if min(values.size, others.size) < 2:
        return -np.inf, np.inf
    found = stats.ttest_ind(values, others, equal_var=False)
    low, high = found.confidence_interval(CONFIDENCE)
    return float(low), float(high)
