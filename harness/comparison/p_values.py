"""One-sided tests that a ratio of times lies beyond a threshold: one cell, several, among many.

Rounds of one process are tested without assuming a distribution of their times: by the sign test
where rounds pair the samples, else by Mann and Whitney's. Where several processes took them, each
counts as one value, the logarithm of the median of its rounds, for Student's or Welch's t-test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from harness.numerics.formats import Float64Array

_TESTED = 64
_DIRECT = 2048
_SMALLEST_P = 1e-10
"""What a sum by fast Fourier transform can still tell from nothing."""


@dataclass(frozen=True)
class OneSided:
    """A one-sided test of one cell; null hypothesis: its ratio is not beyond the threshold.

    Attributes:
        wins: the test statistic, a count, so that those of several cells add up.
        null: its distribution if the ratio is exactly at the threshold: probabilities of 0, 1, ...
        p: the p-value of a t-test, which has no count; None for a test that counts.
    """

    wins: int = 0
    null: Float64Array = field(default_factory=lambda: np.ones(1))
    p: float | None = None


def of_signs(smaller: Float64Array, larger: Float64Array) -> OneSided:
    """Sign test of paired rounds: counts those with larger > smaller (a tie is no win)."""
    a, b = _thinned(smaller), _thinned(larger)
    return OneSided(int((b > a).sum()), np.asarray(binomial(a.size)))


def of_ranks(smaller: Float64Array, larger: Float64Array) -> OneSided:
    """Mann-Whitney test of unpaired samples: counts the pairs with larger > smaller."""
    a, b = _thinned(smaller), _thinned(larger)
    wins = int((b[:, None] > a[None, :]).sum())
    return OneSided(wins, np.asarray(mann_whitney(*sorted((a.size, b.size)))))


def of_processes(values: Float64Array, others: Float64Array | None = None) -> OneSided:
    """Student's t-test that the mean is above 0; with `others`, Welch's that it is above theirs."""
    from scipy import stats

    against = np.zeros(1) if others is None else others
    if np.ptp(values) == 0.0 == np.ptp(against):
        return OneSided(p=_SMALLEST_P if values[0] > against[0] else 1.0)
    if others is None:
        found = stats.ttest_1samp(values, 0.0, alternative="greater")
    else:
        found = stats.ttest_ind(values, others, equal_var=False, alternative="greater")
    return OneSided(p=max(float(found.pvalue), _SMALLEST_P))


@lru_cache(maxsize=256)
def mann_whitney(m: int, n: int) -> tuple[float, ...]:
    """Probabilities of U = 0..mn for samples of m and n, exactly (Mann & Whitney 1947)."""
    # The Gaussian binomial coefficient [m+n choose m]_q, one factor (1-q^(n+i))/(1-q^i) a step.
    size = m * n + 1
    counts = np.zeros(size, dtype=object)
    counts[0] = 1
    for i in range(1, m + 1):
        for k in range(size - 1, n + i - 1, -1):
            counts[k] -= counts[k - n - i]
        for k in range(i, size):
            counts[k] += counts[k - i]
    total = math.comb(m + n, m)
    return tuple(float(c / total) for c in counts)


@lru_cache(maxsize=256)
def binomial(n: int) -> tuple[float, ...]:
    """Probabilities of 0..n heads of a fair coin."""
    return tuple(math.comb(n, k) / 2**n for k in range(n + 1))


def _thinned(samples: Float64Array) -> Float64Array:
    """At most 64 of the samples, evenly spread: the exact null distribution stays cheap."""
    if samples.size <= _TESTED:
        return samples
    return samples[np.linspace(0, samples.size - 1, _TESTED).astype(np.int64)]


def sum_distribution(parts: Sequence[Float64Array]) -> Float64Array:
    """Probabilities of a sum of independent counts, from those of each."""
    size = sum(p.size for p in parts) - len(parts) + 1
    if size <= _DIRECT:
        found = np.ones(1)
        for part in parts:
            found = np.convolve(found, part)
        return found
    powers = Counter(p.tobytes() for p in parts)
    spectrum = np.ones(size // 2 + 1, dtype=np.complex128)
    for data, count in powers.items():
        spectrum *= np.fft.rfft(np.frombuffer(data), size) ** count
    return np.maximum(np.fft.irfft(spectrum, size), 0.0)


def together(parts: Sequence[OneSided]) -> float:
    """One p-value for several cells; null hypothesis: none of them is beyond the threshold.

    Counts add up, and so does their exact null distribution by convolution: four cells of three
    rounds that all separate fully are strong together (1 / 20**4), though none is alone.
    p-values are combined by Stouffer's method.
    """
    from scipy import stats

    counted = [e for e in parts if e.p is None]
    found = [e.p for e in parts if e.p is not None]
    if counted:
        null = sum_distribution([e.null for e in counted])
        tails = np.clip(np.cumsum(null[::-1])[::-1], _SMALLEST_P, 1.0)
        found.append(float(tails[sum(e.wins for e in counted)]))
    if len(found) == 1:
        return found[0]
    clipped = np.minimum(found, 1.0 - _SMALLEST_P)  # a p of 1 is minus infinity there
    return max(float(stats.combine_pvalues(clipped, method="stouffer").pvalue), _SMALLEST_P)


def holm(p: Mapping[Any, float], alpha: float) -> set[Any]:
    """The hypotheses rejected at family-wise level `alpha` (Holm 1979)."""
    rejected: set[Any] = set()
    for rank, key in enumerate(sorted(p, key=lambda k: p[k])):
        if p[key] > alpha / (len(p) - rank):
            break
        rejected.add(key)
    return rejected
