"""Least times, ratios and their intervals, on samples whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from harness.numerics.statistics import (
    RANK,
    UNKNOWN,
    Least,
    Ratio,
    Visits,
    between,
    chance,
    floor,
    least,
    logs_of_processes,
    of_blocks,
    of_visits,
    pairs,
    ratio_of_logs,
    reach,
)
from harness.numerics.statistics import ratio as ratio_of_visits

Array = NDArray[np.float64]
Machine = Callable[[np.random.Generator, int], tuple[Array, Array]]


def ratio(mine: ArrayLike, its: ArrayLike) -> Ratio:
    """Of visits of the same rounds."""
    return ratio_of_visits(Visits.in_rounds(mine), Visits.in_rounds(its))


def disturbed(rng: np.random.Generator, visits: int, stays: float) -> Array:
    """In which visits a neighbour is there: half of them, for so long on average."""
    found = np.zeros(visits, np.bool_)
    state = bool(rng.random() < 0.5)
    for k in range(visits):
        state = state if rng.random() < 1.0 - 1.0 / stays else not state
        found[k] = state
    return found


def _machine(jitter: Callable[[np.random.Generator, int], Array], stays: float) -> Machine:
    def times(rng: np.random.Generator, visits: int) -> tuple[Array, Array]:
        there = disturbed(rng, visits, stays)
        mine = 130.0 * np.where(there, 1.4, 1.0) * (1.0 + jitter(rng, visits))
        its = 100.0 * np.where(there, 1.7, 1.0) * (1.0 + jitter(rng, visits))
        return mine, its

    return times


MACHINES = {
    "equally frequent near the least": _machine(lambda rng, n: 0.02 * rng.random(n), 1.0),
    "rarely the least": _machine(lambda rng, n: 0.01 * rng.exponential(1.0, n), 1.0),
    "a neighbour that stays for a few visits": _machine(
        lambda rng, n: 0.01 * rng.exponential(1.0, n), 2.0
    ),
    "interruptions": _machine(
        lambda rng, n: 0.01 * rng.random(n) + (rng.random(n) < 0.3) * rng.exponential(1.0, n), 1.0
    ),
}
"""Times of visits whose least would be 130 and 100, of a machine that slows the one by 1.4 and the
other by 1.7 half of the time: medians of the ratio of the two lie anywhere between 1.07 and 1.3."""


def test_a_visit_is_as_good_as_its_least_sample() -> None:
    assert of_visits([3.0, 2.0, 9.0, 4.0, 5.0, 4.0], 3).tolist() == [2.0, 4.0, 4.0]
    assert of_visits([3.0, 2.0], None).tolist() == [3.0, 2.0]
    assert of_visits(np.arange(40.0)).tolist() == np.arange(0.0, 40.0, 4.0).tolist()


def test_the_least_is_known_as_well_as_the_shortest_visits_agree() -> None:
    assert least([7.0] * 6).low == pytest.approx(7.0)
    assert least([7.0]).low == 0.0
    assert least([0.0, 0.0]).low == 0.0
    apart, near = least([10.0, 11.0, 11.0, 11.0, 11.0]), least([10.0, 10.1, 10.1, 10.1, 10.1])
    assert apart.ns == near.ns == 10.0
    assert apart.low < 9.0 < near.low < 10.0


def test_visits_that_were_disturbed_change_nothing_where_enough_were_not() -> None:
    quiet = [10.0, 10.1, 10.1, 10.2, 10.2]
    assert least([*quiet, *[30.0] * 10]) == least([*quiet, *[15.0] * 10])
    assert least([*quiet, *[30.0] * 10]).low > 9.0
    assert len(quiet) == RANK


def test_what_slows_everything_all_the_time_cancels() -> None:
    found = ratio(260.0 * np.linspace(1.5, 1.6, 20), 200.0 * np.linspace(1.5, 1.6, 20))
    assert found.value == pytest.approx(1.3)
    assert found.within(0.05)


@pytest.mark.parametrize("name", MACHINES)
def test_intervals_cover_the_ratio_of_an_undisturbed_machine(name: str) -> None:
    rng = np.random.default_rng(7)
    covered, near = 0, 0
    for _ in range(400):
        found = ratio(*MACHINES[name](rng, 20))
        covered += found.low <= 1.3 <= found.high
        near += abs(math.log(found.value / 1.3)) < 0.03
    assert covered >= 0.95 * 400
    assert near >= 0.95 * 400


@pytest.mark.parametrize("name", MACHINES)
def test_looking_again_and_again_until_it_looks_good_misses_no_more(name: str) -> None:
    """As visits are made: the interval of the look that was the last."""
    rng = np.random.default_rng(3)
    covered, decided = 0, 0
    for _ in range(300):
        mine, its = MACHINES[name](rng, 60)
        for count in range(6, 61):
            found = ratio(mine[:count], its[:count])
            if found.within(0.05):
                break
        decided += found.within(0.05)
        covered += found.low <= 1.3 <= found.high
    assert covered >= 0.95 * 300
    assert decided >= 0.95 * 300


@pytest.mark.parametrize("second", [(0.01, 4), (0.0001, 4), (0.05, 4), (0.02, 1)])
def test_two_least_times_are_together_at_most_as_far_off(second: tuple[float, int]) -> None:
    """As in simulation: the chance is an upper bound, and no more than some times as large."""
    rng = np.random.default_rng(4)
    pair = [Least(1.0, spread, others) for spread, others in ((0.02, 4), second)]
    off = sum(one.spread * rng.pareto(one.others, 400_000) for one in pair)
    for beyond in (0.002, 0.01, 0.04, 0.1, 0.4):
        true = float(np.mean(off > beyond))
        assert chance(beyond, *pair) >= true - 1e-3
        assert chance(beyond, *pair) == pytest.approx(chance(beyond, *pair[::-1]))
        if second[1] == 4:
            assert chance(beyond, *pair) <= 8.0 * true + 1e-3
    for alpha in (0.3, 0.01, 1e-6):
        assert chance(reach(alpha, *pair), *pair) == pytest.approx(alpha, rel=1e-6)


def test_of_a_baseline_below_the_clock_nothing_is_known() -> None:
    some, nothing = least([5.0, 5.1]), least([0.0, 1.0])
    assert between((some, nothing), (some, some)) == UNKNOWN == between((some,), (nothing,))
    assert chance(0.1, some, nothing) == 1.0


def test_of_one_least_time_chance_and_reach_are_each_other_s_inverse() -> None:
    one = least([10.0, 10.1, 10.1, 10.2, 10.3, 14.0])
    assert chance(0.0, one) == 1.0 == chance(-1.0, one)
    assert chance(reach(0.03, one), one) == pytest.approx(0.03)
    assert math.log(one.ns / one.low) == pytest.approx(reach(0.01, one))
    unknown = least([7.0])
    assert (chance(9.0, unknown), reach(0.01, unknown)) == (1.0, math.inf)
    assert (chance(9.0, one, unknown), reach(0.01, one, unknown)) == (1.0, math.inf)


@pytest.mark.parametrize("name", MACHINES)
def test_ratios_of_two_runs_are_covered_as_well(name: str) -> None:
    rng = np.random.default_rng(8)
    covered, narrow = 0, 0
    for _ in range(400):
        (a, its_a), (b, its_b) = (map(least, MACHINES[name](rng, 20)) for _ in range(2))
        found = between((b, its_a), (a, its_b))
        covered += found.low <= 1.0 <= found.high
        narrow += found.within(0.05)
    assert covered >= 0.95 * 400
    assert narrow >= 0.8 * 400


WANDERING = 0.02
"""By which the clock of a core wanders, as a logarithm, up and down within some rounds."""


def wandering(rng: np.random.Generator, visits: int) -> tuple[Array, Array]:
    """Times that the clock of the core changes alike, with now and then a moment faster than all.

    What is left beside that is a percent.
    """
    steps = np.cumsum(rng.standard_normal(visits))
    clock = WANDERING * np.sin(0.3 * steps) - 0.05 * (rng.random(visits) < 0.03)
    noise = 0.007 * rng.standard_normal((2, visits))
    return 130.0 * np.exp(clock + noise[0]), 100.0 * np.exp(clock + noise[1])


def test_neighbours_have_the_clock_in_common_that_least_times_have_not() -> None:
    rng = np.random.default_rng(6)
    covered = decided = by_least = 0
    for _ in range(400):
        mine, its = wandering(rng, 10)
        found = ratio(mine, its)
        covered += found.low <= 1.3 <= found.high
        decided += found.within(0.025)
        by_least += between((least(mine),), (least(its),)).within(0.025)
    assert covered >= 0.95 * 400
    assert decided >= 0.95 * 400 > 3 * by_least


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_pairs_that_are_disturbed_say_nothing_beside_least_times(share: float) -> None:
    """However many they are: half of the pairs, or nearly all, are of a ratio that is another."""
    rng = np.random.default_rng(9)
    slowed = np.where(rng.random(2000) < share, 1.3, 1.0)
    mine = 130.0 * slowed * (1.0 + 0.01 * rng.random(2000))
    its = 100.0 * (1.0 + 0.01 * rng.random(2000))
    assert (pairs(*map(Visits.in_rounds, (mine, its))).size > 0) == (share == 0.9)
    found = ratio(mine, its)
    assert found.low <= 1.3 <= found.high
    assert found.within(0.01)


def test_as_much_as_pairs_differ_their_ratio_is_not_known_however_many_they_are() -> None:
    logs = 0.01 * np.random.default_rng(1).standard_normal(10_000)
    assert floor(logs) == pytest.approx(0.25 * 2 * 0.6745 * 0.01, rel=0.05)
    mine, its = 100.0 * np.exp(logs), np.full(logs.size, 100.0)
    assert ratio_of_logs(of_blocks(logs)).half_width < 0.5 * floor(logs)
    assert ratio(mine, its).half_width == pytest.approx(floor(logs))


def test_pairs_are_of_neighbours_in_time() -> None:
    its = Visits(100.0 * np.exp(0.01 * np.arange(20.0)), np.arange(20.0))
    at = np.array([-5.0, -0.5, 0.5, 3.25, 7.0, 18.5, 19.5, 25.0])
    mine = Visits(200.0 * np.exp(0.01 * np.clip(at, 0.0, 19.0)), at)
    assert pairs(mine, its) == pytest.approx(np.full(6, math.log(2.0)))
    assert pairs(Visits(mine.ns), its).size == 0  # it is not known when they were
    assert pairs(Visits(mine.ns[:6], at[:6]), its).size == 0  # too few
    assert pairs(Visits(0.0 * mine.ns, at), its).size == 0


def test_where_no_visit_agrees_with_another_little_is_known() -> None:
    rng = np.random.default_rng(2)
    assert ratio(*np.exp(rng.standard_normal((2, 20)))).half_width > 0.3
    assert ratio([1.0], [1.0]) == UNKNOWN == ratio([0.0] * 9, [1.0] * 9)


def test_an_interval_is_within_a_precision_by_its_half_length() -> None:
    found = Ratio(1.0, 0.95, 1.05)
    assert found.within(1.1 * found.half_width)
    assert not found.within(0.9 * found.half_width)
    assert not UNKNOWN.within(1e9)


def test_the_inverse_is_the_ratio_the_other_way_round() -> None:
    assert Ratio(2.0, 1.0, 4.0).inverse() == Ratio(0.5, 0.25, 1.0)
    assert Ratio(2.0, 0.0, 4.0).inverse() == Ratio(0.5, 0.25, math.inf)


def test_of_several_processes_the_interval_covers_what_another_would_give() -> None:
    rng = np.random.default_rng(5)
    covered = pooled = 0
    for _ in range(300):
        noise = 0.02 * rng.standard_normal((2, 6, 1)) + 0.002 * rng.random((2, 6, 8))
        a, b = map(Visits.in_rounds, 100.0 * np.exp(noise.reshape(2, -1)))
        found = ratio_of_logs(logs_of_processes(a, b, 6))
        covered += found.low <= 1.0 <= found.high
        one = ratio(a.ns[:8], b.ns[:8])
        pooled += one.low <= 1.0 <= one.high
    assert 0.90 <= covered / 300 <= 0.99
    assert pooled / 300 < 0.5  # what the visits to one process would claim


@pytest.mark.parametrize(
    ("samples", "visits", "message"),
    [
        ([], None, "at least one sample"),
        ([math.nan], None, "finite"),
        ([-1.0], None, "finite samples of at least 0"),
        ([1.0, 2.0, 3.0], 2, "2 equal parts"),
        ([1.0], 0, "0 equal parts"),
    ],
)
def test_what_are_no_samples_is_refused(
    samples: list[float], visits: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        of_visits(samples, visits)


@pytest.mark.parametrize(
    ("visits", "others", "message"),
    [
        ([1.0] * 4, [1.0] * 3, "2 equal parts"),
        ([], [], "2 equal parts"),
        ([1.0, 1.0], [0.0, 1.0], "above 0"),
    ],
)
def test_what_are_no_processes_is_refused(
    visits: list[float], others: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        logs_of_processes(*map(Visits.in_rounds, (visits, others)), 2)
