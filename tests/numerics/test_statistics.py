"""Medians, intervals and ratios, on samples whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.experiments.throughput.entrants import ALPHA, LOOKS
from harness.numerics.statistics import paired_ratio, summarise_samples

Noise = Callable[[np.random.Generator, int], NDArray[np.float64]]


def correlated(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Neighbours have half of their noise in common."""
    noise = np.zeros(count)
    for k, step in enumerate(rng.standard_normal(count)):
        noise[k] = 0.05 * step if not k else 0.5 * noise[k - 1] + 0.75**0.5 * 0.05 * step
    return noise


NOISES: dict[str, Noise] = {
    "normal": lambda rng, n: 0.05 * rng.standard_normal(n),
    "skewed": lambda rng, n: 0.01 * np.diff(rng.exponential(1.0, (2, n)) ** 1.5, axis=0)[0],
    "one in seven is far off": lambda rng, n: (
        0.01 * rng.standard_normal(n) + (rng.random(n) < 0.15) * rng.normal(0.0, 0.5, n)
    ),
    "neighbours alike": correlated,
}
"""Of the logarithm of a ratio, about a truth of 1."""


def test_least_and_median_of_known_samples() -> None:
    s = summarise_samples([3.0, 2.0, 1.0, 4.0, 100.0])
    assert (s.count, s.best, s.median) == (5, 1.0, 3.0)
    assert s.ci_low < 3.0 < s.ci_high


def test_how_far_the_machine_lets_the_least_come_is_told_by_blocks() -> None:
    samples = [10.0, *[12.0] * 9, *[11.0, *[30.0] * 9] * 9]
    s = summarise_samples(samples)
    assert (s.best, s.best_high) == (10.0, 11.0)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([7.0] * 30, (7.0, 7.0, 7.0)), ([0.0] * 9, (0.0, 0.0, 0.0)), ([5.0], (5.0, 0.0, math.inf))],
)
def test_degenerate_samples(samples: list[float], expected: tuple[float, float, float]) -> None:
    s = summarise_samples(samples)
    assert (s.median, s.ci_low, s.ci_high) == pytest.approx(expected)


def test_one_outlier_moves_neither_median_nor_interval() -> None:
    samples = [10.0 + 0.01 * (i % 7) for i in range(60)]
    plain, spoiled = summarise_samples(samples), summarise_samples([*samples[:-1], 1e9])
    assert spoiled.ci_high == pytest.approx(plain.ci_high, rel=1e-2)


def test_what_slows_both_cancels_in_the_paired_ratio() -> None:
    drift = np.linspace(1.0, 3.0, 15)
    ratio = paired_ratio(200.0 * drift, 100.0 * drift)
    assert ratio.pairs == 15
    for end in (ratio.median, ratio.ci_low, ratio.ci_high):
        assert end == pytest.approx(2.0)


@pytest.mark.parametrize("name", NOISES)
def test_intervals_of_many_pairs_cover_the_truth(name: str) -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        noise = np.exp(NOISES[name](rng, 160))
        found = paired_ratio(130.0 * noise, np.full(160, 100.0))
        covered += found.ci_low <= 1.3 <= found.ci_high
    assert covered >= 0.90 * 300


def test_pairs_from_another_state_of_the_machine_do_not_count() -> None:
    """A neighbour on the core slows one by 1.7 and the other by 1.4, half of the time."""
    rng = np.random.default_rng(2)
    slow = np.repeat(rng.random(16) < 0.5, 10)
    noise = np.exp(0.02 * rng.standard_normal((2, 160)))
    baseline = 100.0 * np.where(slow, 1.7, 1.0) * noise[0]
    samples = 50.0 * np.where(slow, 1.4, 1.0) * noise[1]
    found = paired_ratio(samples, baseline)
    assert found.pairs == int((~slow).sum())
    assert found.ci_low < 0.5 < found.ci_high
    assert found.half_width < 0.02
    always = paired_ratio(samples[slow], baseline[slow])  # there is no other state to be seen
    assert always.median == pytest.approx(0.5 * 1.4 / 1.7, rel=0.02)


def test_where_too_few_pairs_are_quiet_all_count_and_the_interval_says_so() -> None:
    rng = np.random.default_rng(2)
    samples = 100.0 * np.exp(rng.standard_normal(60))
    found = paired_ratio(samples, 100.0 * np.exp(rng.standard_normal(60)))
    assert found.pairs == 60
    assert found.half_width > 0.2


@pytest.mark.parametrize("name", NOISES)
def test_looking_again_and_again_until_it_looks_good_misses_no_more(name: str) -> None:
    """As pairs are taken: the interval of the look that was the last."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        noise = np.exp(NOISES[name](rng, 10 << LOOKS))
        for look in range(LOOKS):
            count = 10 << look
            found = paired_ratio(noise[:count], np.ones(count), alpha=ALPHA / LOOKS)
            if found.within(0.03):
                break
        covered += found.ci_low <= 1.0 <= found.ci_high
    assert covered >= 0.93 * 200


def test_an_interval_is_within_a_precision_by_its_half_length() -> None:
    ratio = paired_ratio([100.0 + k % 7 for k in range(40)], [100.0] * 40)
    assert ratio.within(1.1 * ratio.half_width)
    assert not ratio.within(0.9 * ratio.half_width)
    assert not paired_ratio([1.0], [1.0]).within(1e9)


def test_of_several_processes_the_interval_covers_what_another_would_give() -> None:
    rng = np.random.default_rng(5)
    covered = pooled = 0
    for _ in range(300):
        noise = 0.02 * rng.standard_normal((2, 6, 1)) + 0.005 * rng.standard_normal((2, 6, 5))
        a, b = 100.0 * np.exp(noise.reshape(2, -1))
        ratio = paired_ratio(a, b, processes=6)
        covered += ratio.ci_low <= 1.0 <= ratio.ci_high
        as_one = paired_ratio(a[:5], b[:5])
        pooled += as_one.ci_low <= 1.0 <= as_one.ci_high
    assert 0.90 <= covered / 300 <= 0.99
    assert pooled / 300 < 0.5  # what the pairs of one process would claim


def test_the_median_of_several_processes_has_the_interval_of_their_medians() -> None:
    samples = [100.0] * 5 + [110.0] * 5 + [90.0] * 5 + [101.0] * 5
    s = summarise_samples(samples, processes=4)
    assert s.median == 100.5
    assert s.ci_low < 90.0 < 110.0 < s.ci_high
    with pytest.raises(ValueError, match="3 equal parts"):
        summarise_samples(samples, processes=3)


def test_pairs_without_a_time_are_left_out_of_one_process_and_refused_of_several() -> None:
    assert paired_ratio([1.0, 2.0, 3.0], [0.0, 1.0, 1.0]).pairs == 2
    with pytest.raises(ValueError, match="above 0 ns"):
        paired_ratio([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], processes=2)


@pytest.mark.parametrize(
    ("samples", "baseline", "message"),
    [
        ([], [], "at least one sample"),
        ([1.0], [1.0, 2.0], "one sample a pair"),
        ([1.0], [0.0], "above 0 ns"),
        ([np.nan], [1.0], "finite"),
        ([-1.0], [1.0], "finite samples of at least 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    samples: list[float], baseline: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_ratio(samples, baseline)
