"""Medians, bootstrap intervals, ratios and trends of timing samples; the A/A control's verdict.

Every statistic behind a published timing is here: scipy's procedures, with the choices that make
them honest for few, discrete samples. All are deterministic for a given seed. Rounds are not
assumed to be normally distributed: timings are skewed to the right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from harness.numerics.formats import Float64Array

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 20210812
FEW = 6
"""Samples below which no interval of a median can reach 95%: 1 - 2**(1 - n) (order statistics)."""

LEAST_PROCESSES = 4
"""Processes below which they say too little of how processes differ: of two, Student's interval is
18 times as wide as what they differ by."""

_TREND_P = 0.02
_TREND_LEAST = 5  # of five values a perfect order has p = 2/5! = 0.017, of four 0.083


@dataclass(frozen=True)
class SampleSummary:
    """Timing samples in brief.

    Attributes:
        count: number of samples.
        median: median, in the unit of the samples (ns).
        ci_low, ci_high: 95% percentile-bootstrap interval of the median, same unit. With fewer
            than 6 samples no interval of a median can reach 95% coverage (1 - 2**(1 - n)): it is
            then the range of the samples, and for a single sample that sample.
        mad: median absolute deviation from the median, not rescaled, same unit.
    """

    count: int
    median: float
    ci_low: float
    ci_high: float
    mad: float


@dataclass(frozen=True)
class RatioSummary:
    """A ratio of two implementations' times, round by round.

    Attributes:
        rounds: number of rounds in which both were measured.
        median: median of samples / baseline over the rounds (below 1: faster than baseline); of
            several processes, the geometric mean of their medians.
        ci_low, ci_high: its interval, as in `SampleSummary`; of several processes, of Student's t.
    """

    rounds: int
    median: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Trend:
    """Whether samples moved in one direction over the rounds.

    Attributes:
        change: fitted change from the first round to the last, relative to the median: 0.1 is
            10% slower at the end (Theil-Sen slope, which up to 29% of outliers do not move).
        p: two-sided p-value of Kendall's tau between time and round, exact for few samples.
    """

    change: float
    p: float

    @property
    def significant(self) -> bool:
        """p < 0.02: chance gives an order so consistent in fewer than 1 of 50 sets of samples."""
        return self.p < _TREND_P


@dataclass(frozen=True)
class ControlVerdict:
    """Whether the A/A control (the baseline against itself) holds 1.0.

    Attributes:
        holds: True if 1.0 lies in the interval.
        reason: one sentence with the numbers.
    """

    holds: bool
    reason: str


def _samples(values: ArrayLike, name: str) -> Float64Array:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one sample, got none")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"{name}: expected finite samples of at least 0, got {array.tolist()[:8]}")
    return array


def median_interval(
    values: ArrayLike, *, seed: int = SEED, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95% percentile-bootstrap interval of the median (Efron & Tibshirani 1993, ch. 13).

    The ends are observed medians, so that identical samples give an interval of length zero and
    a bimodal set an interval that reaches both modes. Fewer than 6 samples: their range.

    Raises:
        ValueError: for no sample, or one that is negative or not finite.
    """
    array = _samples(values, "values")
    if array.size < FEW or array.min() == array.max():
        return float(array.min()), float(array.max())
    return bootstrap_interval((array,), np.median, seed=seed, resamples=resamples)


def bootstrap_interval(
    samples: Sequence[Float64Array],
    statistic: Callable[..., Any],
    *,
    seed: int = SEED,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95% percentile interval of a statistic, by `scipy.stats.bootstrap`.

    Each of `samples` is resampled by itself. scipy's own percentiles interpolate between values
    of the bootstrap distribution; that of a median is discrete, and a value between two of its
    atoms (between the modes of a bimodal set, say) was never observed. The ends are therefore
    taken from the distribution itself, by its inverse.

    Args:
        samples: one array for each argument of `statistic`.
        statistic: of that many arrays and ``axis``, as numpy's are.
    """
    from scipy import stats  # takes half a second to import

    result = stats.bootstrap(
        tuple(samples), statistic, n_resamples=resamples, method="percentile", vectorized=True,
        confidence_level=CONFIDENCE, random_state=np.random.default_rng(seed),
    )  # fmt: skip
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(
        result.bootstrap_distribution, (tail, 1.0 - tail), method="inverted_cdf"
    )
    return float(low), float(high)


def summarise_samples(ns: ArrayLike, *, processes: int = 1, seed: int = SEED) -> SampleSummary:
    """Median, interval and median absolute deviation of timing samples in ns.

    Args:
        processes: that took the samples, in equal parts and in order. Of several, the interval is
            Student's of the mean of their medians' logarithms, about the median of all samples.

    Raises:
        ValueError: for no sample, or one that is negative or not finite; for unequal parts.
    """
    array = _samples(ns, "ns")
    median = float(np.median(array))
    each = np.median(by_process(array, processes), axis=1)
    if processes > 1 and each.min() > 0:
        logs = np.log(each)
        low, high = (median * float(np.exp(end - logs.mean())) for end in mean_interval(logs))
    else:
        low, high = median_interval(array, seed=seed)
    return SampleSummary(array.size, median, low, high, float(np.median(np.abs(array - median))))


def paired_ratio(
    samples: Sequence[float] | ArrayLike,
    baseline: Sequence[float] | ArrayLike,
    *,
    processes: int = 1,
    seed: int = SEED,
) -> RatioSummary:
    """Median of samples / baseline, round by round, with its bootstrap interval.

    Round k of one is set against round k of the other, so that a drift of the machine, which
    slows both, cancels. Rounds whose baseline took no time at all (below the resolution of the
    timer) cannot be compared and are left out.

    The interval of one process says what its next rounds would give, not what another process
    would. With several, those are the sample: see `ratios_of_processes`.

    Args:
        samples: one time per round, ns.
        baseline: the baseline's time in the same rounds, same length.
        processes: that took the samples, in equal parts and in order.

    Raises:
        ValueError: for unequal lengths, no usable round, or samples that are not times.
    """
    a, b = _samples(samples, "samples"), _samples(baseline, "baseline")
    if a.size != b.size:
        raise ValueError(
            f"samples, baseline: expected one sample a round each, got {a.size} and {b.size}"
        )
    usable = b > 0
    if not usable.any():
        raise ValueError("baseline: expected a time above 0 ns in some round, got zeros only")
    if processes > 1:
        logs = ratios_of_processes(a, b, processes)
        low, high = mean_interval(logs)
        middle, low, high = (float(np.exp(v)) for v in (logs.mean(), low, high))
        return RatioSummary(int(usable.sum()), middle, low, high)
    ratios = a[usable] / b[usable]
    low, high = median_interval(ratios, seed=seed)
    return RatioSummary(ratios.size, float(np.median(ratios)), low, high)


def ratios_of_processes(samples: ArrayLike, baseline: ArrayLike, processes: int) -> Float64Array:
    """Logarithm of the median ratio of each pair of processes: as many independent values.

    Args:
        samples, baseline: one time per round, in equal parts and in order of the processes.

    Raises:
        ValueError: the samples are no such parts, or a pair of processes has no usable round.
    """
    a, b = (by_process(values, processes) for values in (samples, baseline))
    found = []
    for mine, other in zip(a, b, strict=True):
        usable = other > 0
        if not usable.any() or not np.median(mine[usable]) > 0:
            raise ValueError("samples, baseline: expected times above 0 ns of every process")
        found.append(np.log(np.median(mine[usable] / other[usable])))
    return np.array(found)


def by_process(samples: ArrayLike, processes: int) -> Float64Array:
    """Samples as an array of shape (processes, rounds of each).

    Raises:
        ValueError: the samples are no such parts.
    """
    array = _samples(samples, "samples")
    if array.size % processes:
        raise ValueError(f"samples: expected {processes} equal parts, got {array.size} samples")
    return array.reshape(processes, -1)


def mean_interval(values: Float64Array) -> tuple[float, float]:
    """95% interval of a mean by Student's t; all numbers for a single value.

    Each value is that of one process: the logarithm of a median of its rounds.
    """
    from scipy import stats

    if values.size < 2:
        return -np.inf, np.inf
    reach = stats.t.ppf(0.5 + CONFIDENCE / 2.0, values.size - 1) * stats.sem(values)
    return float(values.mean() - reach), float(values.mean() + reach)


def difference_interval(values: Float64Array, others: Float64Array) -> tuple[float, float]:
    """95% interval of mean(values) - mean(others), by Welch's t."""
    from scipy import stats

    found = stats.ttest_ind(values, others, equal_var=False)
    low, high = found.confidence_interval(CONFIDENCE)
    return float(low), float(high)


def control_verdict(ratio: RatioSummary) -> ControlVerdict:
    """Does the A/A control hold 1.0? If not, the run is *noisy*: its ratios say little.

    The control is the baseline under another name; the truth is 1 by construction.
    """
    interval = f"[{ratio.ci_low:.4f}, {ratio.ci_high:.4f}] over {ratio.rounds} rounds"
    holds = ratio.ci_low <= 1.0 <= ratio.ci_high
    if holds:
        return ControlVerdict(True, f"control ratio {ratio.median:.4f}, interval {interval}")
    return ControlVerdict(
        False,
        f"noisy: the baseline against itself gave {ratio.median:.4f}, and {interval} does not "
        "hold 1.0; close other programs or measure more rounds",
    )


def trend(samples: ArrayLike) -> Trend | None:
    """The trend of samples over the rounds, in the order in which they were taken.

    None with fewer than 5 samples, whose order says nothing at 2%.

    Raises:
        ValueError: for no sample, or one that is negative or not finite.
    """
    from scipy import stats

    array = _samples(samples, "samples")
    if array.size < _TREND_LEAST:
        return None
    median = float(np.median(array))
    if array.min() == array.max() or median == 0.0:
        return Trend(0.0, 1.0)
    rounds = np.arange(array.size)
    p = float(stats.kendalltau(rounds, array).pvalue)
    slope = float(stats.theilslopes(array, rounds).slope)
    return Trend(slope * (array.size - 1) / median, p)
