"""Whether a core is disturbed: what is remembered of calm ones."""

from __future__ import annotations

import os
import time

import pytest

from harness.worker.timing import calm
from harness.worker.timing.calm import Calm, probe_ns


def test_a_probe_leaves_the_thread_where_it_was() -> None:
    before = os.sched_getaffinity(0)
    assert probe_ns() > 0
    assert os.sched_getaffinity(0) == before


def test_the_slowest_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    at: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: at.append(cores))
    monkeypatch.setattr(calm, "_least", lambda: 100 if at[-1] == {3} else 190)
    assert probe_ns() == 190
    assert at[-1] == {3, 5}


def test_calm_is_what_comes_near_the_least_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    one = Calm()
    assert one.limit_ns == 0.0  # nothing is known, nobody is refused
    for ns in (200.0, 100.0, 180.0, 110.0):
        one.saw(ns)
    assert one.limit_ns == calm.FACTOR * 100.0
    now[0] = 59.0
    one.saw(150.0)
    assert one.limit_ns == calm.FACTOR * 100.0
    now[0] = 61.0  # clocks change: what was before a minute is forgotten
    one.saw(160.0)
    assert one.limit_ns == calm.FACTOR * 150.0


def test_what_a_calm_core_takes_is_learnt_in_a_moment() -> None:
    one = Calm()
    assert one.slowed(1e9) == 1.0
    one.learn()
    assert one.limit_ns > 0.0
    least = one.limit_ns / calm.FACTOR
    assert (one.slowed(least / 2.0), one.slowed(2.0 * least)) == (1.0, 2.0)
