"""Medians, intervals, ratios and the control's verdict, on samples whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from harness.numerics.statistics import (
    RatioSummary,
    control_verdict,
    median_interval,
    paired_ratio,
    summarise_samples,
    trend,
)


def test_median_and_deviation_of_known_samples() -> None:
    s = summarise_samples([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (s.count, s.median, s.mad) == (5, 3.0, 1.0)
    assert (s.ci_low, s.ci_high) == (1.0, 100.0)  # too few for 95%: the range


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([5.0], (5.0, 5.0, 5.0)), ([7.0] * 30, (7.0, 7.0, 7.0)), ([0.0] * 9, (0.0, 0.0, 0.0))],
)
def test_degenerate_samples(samples: list[float], expected: tuple[float, float, float]) -> None:
    s = summarise_samples(samples)
    assert (s.median, s.ci_low, s.ci_high) == expected
    assert s.mad == 0.0


def test_the_interval_is_the_same_every_time() -> None:
    samples = np.random.default_rng(1).lognormal(size=40)
    assert summarise_samples(samples) == summarise_samples(samples)
    assert median_interval(samples, seed=1) != median_interval(samples, seed=2)


def test_the_interval_covers_the_true_median_about_95_times_in_100() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        low, high = median_interval(rng.lognormal(size=25), resamples=400)
        covered += low <= 1.0 <= high
    assert 0.90 <= covered / 300 <= 0.99


def test_one_outlier_does_not_move_the_median_interval() -> None:
    samples = [10.0 + 0.01 * i for i in range(20)]
    plain, spoiled = summarise_samples(samples), summarise_samples([*samples[:-1], 1e9])
    assert spoiled.ci_high == pytest.approx(plain.ci_high, rel=1e-2)


def test_a_drift_common_to_both_cancels_in_the_paired_ratio() -> None:
    drift = np.linspace(1.0, 3.0, 15)
    ratio = paired_ratio(200.0 * drift, 100.0 * drift)
    assert ratio.rounds == 15
    assert ratio.median == pytest.approx(2.0)
    assert ratio.ci_low == pytest.approx(2.0)
    assert ratio.ci_high == pytest.approx(2.0)


def test_of_several_processes_the_interval_covers_what_another_would_give() -> None:
    rng = np.random.default_rng(5)
    covered = pooled = 0
    for _ in range(300):
        noise = 0.02 * rng.standard_normal((2, 6, 1)) + 0.005 * rng.standard_normal((2, 6, 5))
        a, b = 100.0 * np.exp(noise.reshape(2, -1))
        ratio = paired_ratio(a, b, processes=6)
        covered += ratio.ci_low <= 1.0 <= ratio.ci_high
        as_one = paired_ratio(a, b)
        pooled += as_one.ci_low <= 1.0 <= as_one.ci_high
    assert 0.90 <= covered / 300 <= 0.99
    assert pooled / 300 < 0.85  # what the rounds of one process would claim


def test_the_median_of_several_processes_has_the_interval_of_their_medians() -> None:
    samples = [100.0] * 5 + [110.0] * 5 + [90.0] * 5 + [101.0] * 5
    s = summarise_samples(samples, processes=4)
    assert s.median == 100.5
    assert s.ci_low < 90.0 < 110.0 < s.ci_high
    with pytest.raises(ValueError, match="3 equal parts"):
        summarise_samples(samples, processes=3)


def test_a_pair_of_processes_without_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="every process"):
        paired_ratio([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], processes=2)


def test_rounds_without_a_baseline_time_are_left_out() -> None:
    assert paired_ratio([1.0, 2.0, 3.0], [0.0, 1.0, 1.0]).rounds == 2


@pytest.mark.parametrize(
    ("samples", "baseline", "message"),
    [
        ([], [], "at least one sample"),
        ([1.0], [1.0, 2.0], "one sample a round"),
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


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [(0.98, 1.03, True), (1.0, 1.0, True), (1.001, 1.02, False), (0.9, 0.999, False)],
)
def test_the_control_holds_one_or_is_noisy(low: float, high: float, holds: bool) -> None:
    verdict = control_verdict(RatioSummary(10, (low + high) / 2, low, high))
    assert verdict.holds is holds
    assert ("noisy" in verdict.reason) is not holds


def test_the_control_of_equal_noise_holds_and_a_real_difference_does_not() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.lognormal(0.0, 0.05, 30), rng.lognormal(0.0, 0.05, 30)
    assert control_verdict(paired_ratio(a, b)).holds
    assert not control_verdict(paired_ratio(1.2 * a, b)).holds


@pytest.mark.parametrize(
    ("samples", "change", "significant"),
    [
        ([100.0, 110.0, 120.0, 130.0, 140.0, 150.0], 0.4, True),
        ([150.0, 140.0, 130.0, 120.0, 110.0, 100.0], -0.4, True),
        ([100.0, 110.0, 100.0, 110.0, 100.0, 110.0], None, False),
        ([5.0] * 8, 0.0, False),
        ([100.0, 101.0, 102.0, 103.0, 999.0, 105.0, 106.0, 107.0, 108.0], 0.077, True),
    ],
)
def test_a_trend_is_a_size_and_a_consistent_order(
    samples: list[float], change: float | None, significant: bool
) -> None:
    found = trend(samples)
    assert found is not None
    assert found.significant is significant
    if change is not None:
        assert found.change == pytest.approx(change, abs=0.005)


def test_four_samples_have_no_trend() -> None:
    assert trend([1.0, 2.0, 3.0, 4.0]) is None


def test_a_trend_is_seen_in_noise_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(5)
    seen = sum(bool((t := trend(rng.lognormal(size=11))) and t.significant) for _ in range(500))
    assert seen <= 20  # 2% of 500 is 10


def test_the_ends_of_an_interval_are_medians_that_can_occur() -> None:
    low, high = median_interval([1.0] * 6 + [10.0] * 5)
    assert (low, high) == (1.0, 10.0)
