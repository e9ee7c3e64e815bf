"""Cheats are found out: each of tests/cheats is timed as any implementation, in this process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from contexts import MakeContext
from numpy.typing import NDArray

from harness import workloads
from harness.experiments.profiles import SMOKE, Timing
from harness.experiments.throughput import host as throughput
from harness.experiments.throughput import integrity
from harness.experiments.throughput.entrants import HostEntrant, aligned
from harness.experiments.throughput.integrity import (
    PAIRS,
    Scrutiny,
    dishonest_clock,
    dishonest_loops,
    dishonest_times,
    verdict,
)
from harness.experiments.throughput.rounds import Rounds
from harness.numerics.ulps import ulp_error
from harness.records import ThroughputRecord
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation
from harness.worker import backends
from harness.worker.isolation.scheduling import Waits
from harness.worker.local import import_module, load
from harness.worker.server import Worker
from harness.worker.timing import memoization_probe
from harness.worker.timing.calm import Calm
from harness.worker.timing.host_timer import Stopwatch

CALM = Calm()
"""Of this machine, as in a run: on samples beside a neighbour a cheat hides."""
CHEATS = Path(__file__).parents[1] / "cheats"
CLASSES, ROWS = 64, 2048
GRID = Timing((CLASSES,), CLASSES * ROWS, ("one",), min_sample_ns=200_000, warm_up_ns=0,
              warm_up_cap_ns=2_000_000)  # fmt: skip

BY_TIME = (
    "remembers inputs: in 8 of 8 pairs|fast on an input that stays the same|"
    "fast in the timing loop alone"
)
"""What is told of a cheat that times alone give away; which of them first, the machine decides."""
FOUND = {
    "remembers_identity": "on new content",
    "remembers_address": "on new content",
    "remembers_content": f"on new content|{BY_TIME}",
    "returns_earlier": "on new content",
    "one_behind": "on new content",
    "knows_the_caller": "on new content",
    "knows_the_loop": "on new content",
    "knows_the_inputs": BY_TIME,
    "defers_to_a_thread": "changed after it was returned|on new content",
    "defers_to_the_reader": "expected an array of its library; got _Lazy",
    "reuses_its_buffer": "changed by the next call",
    "ignores_out": "out=: the result is not in the array",
    "compares_content": BY_TIME,
    "hashes_content": BY_TIME,
    "counts_its_calls": "on new content|changed by the next call",
    "knows_the_harness": "on new content",
    "looks_at_a_few": "on new content",
}
SMALL = {
    "knows_the_pause": f"on new content|{BY_TIME}",
    "knows_the_probe": BY_TIME,
    "compares_content": BY_TIME,
    "hashes_content": BY_TIME,
}
"""Cheats whose calls take some microseconds: how long a single one takes says nothing there."""
ELSEWHERE = {"stops_the_clock", "works_in_a_pool", "works_in_a_fork"}
"""In a process of its own: `test_cheats_and_honest_ones_in_one_run`."""


class Here:
    """A worker without a process: the stopwatch of one, asked directly."""

    def __init__(self, implementation: Implementation) -> None:
        module = import_module(implementation.metadata)
        self.worker = Worker()
        self.worker.stopwatch = Stopwatch(backends.get("numpy"), lambda name: getattr(module, name))

    def request(
        self,
        command: str,
        header: dict[str, Any] | None = None,
        arrays: tuple[NDArray[Any], ...] = (),
        timeout: float = 0.0,
    ) -> Any:
        received = [aligned(a) for a in arrays]  # as a pipe would give them
        asked = self.worker if command == "verify" else self.worker.stopwatch
        return getattr(asked, command)(header or {}, received)

    def bind(self, cores: int) -> None:
        """As the process that it is in."""

    def settle(self) -> bool:
        return True


def judge(
    entrant: HostEntrant, rows: NDArray[Any], x: NDArray[Any], y: NDArray[Any]
) -> dict[str, Any]:
    error = float(np.max(ulp_error(y, softmax_exact(x))))
    return {"status": "ok"} if error < 1000 else {"status": "failed", "reason": f"{error:.3g} ulp"}


@contextmanager
def on_one_core() -> Iterator[None]:
    """As what uses one thread is timed: threads that a cheat left behind would wait beside it.

    Another one each time, since a test that is made again should not meet the same neighbour.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {random.choice(sorted(cores))})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def timed(
    implementation: Implementation, grid: Timing = GRID, classes: int = CLASSES, rows: int = ROWS
) -> tuple[HostEntrant, Scrutiny]:
    """An implementation after its samples, verified once on the way."""
    x = aligned(workloads.generate("normal(scale=1)", classes, rows, "float32", 0))
    allocating = "softmax" not in implementation.metadata.operations_with_out
    record = ThroughputRecord(
        implementation=implementation.name, status="ok", dtype="float32", classes=classes,
        rows=rows, allocating=allocating, array_bytes=x.nbytes, cache="warm", threads=1,
    )  # fmt: skip
    worker: Any = Here(implementation)
    entrant = HostEntrant(record, worker, implementation, content=x, calm=CALM)
    if not CALM.limit_ns:
        CALM.learn()
    worker.request("place", {}, (x,))
    scrutiny = Scrutiny(classes, rows, "float32", judge)
    test = partial(scrutiny.verify, entrants=[entrant], timeout=60.0)
    with on_one_core():
        Rounds([entrant], None, grid, 60.0, "seed", test).take()
    assert entrant.fault is None, entrant.fault
    return entrant, scrutiny


def caught(name: str, classes: int = CLASSES, rows: int = ROWS) -> dict[str, Any]:
    """What is found of a cheat, timed up to twenty times: a crowded machine hides some."""
    for _ in range(20):
        entrant, _ = timed(load(CHEATS / f"{name}.py"), classes=classes, rows=rows)
        changes = verdict(entrant, [entrant])
        if changes:
            return changes
    return {"status": "not found"}


def test_every_cheat_is_expected_somewhere() -> None:
    assert {p.stem for p in CHEATS.glob("*.py")} == {*FOUND, *SMALL, *ELSEWHERE}


@pytest.mark.alone
@pytest.mark.parametrize("name", FOUND)
def test_a_cheat_fails_with_its_reason_and_is_never_ranked(name: str) -> None:
    changes = caught(name)
    assert changes["status"] == "failed", name
    assert changes["ranked"] is False
    assert any(reason in changes["reason"] for reason in FOUND[name].split("|")), changes


@pytest.mark.alone
@pytest.mark.parametrize("name", SMALL)
def test_a_cheat_of_some_microseconds_fails_as_well(name: str) -> None:
    changes = caught(name, classes=1000, rows=16)
    assert changes["status"] == "failed", name
    assert any(reason in changes["reason"] for reason in SMALL[name].split("|")), changes


@pytest.mark.alone
def test_a_few_elements_are_no_input_where_no_loops_are_made_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in cold timings: a row that changes between two calls tells, not new content alone."""
    monkeypatch.setattr(integrity, "_loops", lambda _: [])
    entrant, _ = timed(load(CHEATS / "looks_at_a_few.py"))
    assert not any(entrant.restless)
    assert "on new content" in verdict(entrant, [entrant])["reason"]


@pytest.mark.parametrize("name", ["max_shift", "naive", "online", "two_pass", "log_sum_exp"])
@pytest.mark.parametrize(("classes", "rows"), [(CLASSES, ROWS), (10, 1), (1000, 16)])
def test_an_honest_implementation_passes(name: str, classes: int, rows: int) -> None:
    entrant, scrutiny = timed(load(name), classes=classes, rows=rows)
    assert verdict(entrant, [entrant]) == {}
    assert entrant.record.input_seed == scrutiny.seed
    assert len(entrant.record.unseen_ns or []) == len(entrant.record.repeated_ns or []) >= 1


@pytest.mark.alone
def test_cheats_and_honest_ones_in_one_run(make_context: MakeContext) -> None:
    """The same through processes, the runner's way: reasons in the records, others unharmed."""
    profile = replace(SMOKE, timing={"cached": replace(GRID, min_sample_ns=1_000_000)})
    names = ["remembers_identity", "returns_earlier", "knows_the_caller", *ELSEWHERE]
    context = make_context(["max_shift", *(CHEATS / f"{n}.py" for n in names)], profile)
    found = {r.implementation: r for u in throughput.plan(context) for r in u.measure()}
    for name in names:
        assert found[name].status == "failed", found[name]
        assert getattr(found[name], "ranked", None) is not True
        assert found[name].reason
    for name in ("works_in_a_pool", "works_in_a_fork"):
        assert "computes in other processes" in str(found[name].reason)
    assert found["max_shift"].status == "ok", found["max_shift"].reason
    assert found["copy_regular"].status == "ok", found["copy_regular"].reason


def verified(unseen: list[float], repeated: list[float], samples: list[float]) -> HostEntrant:
    """An entrant whose processor times are its elapsed times."""
    record = ThroughputRecord(
        implementation="a", status="ok", unseen_ns=unseen, repeated_ns=repeated,
        unseen_cpu_ns=unseen, repeated_cpu_ns=repeated,
    )  # fmt: skip
    entrant = HostEntrant(record, None, calls=1)  # type: ignore[arg-type]
    entrant.samples, entrant.processors = samples, [1.0] * len(samples)
    return entrant


SLOW, FAST = [2e6] * PAIRS, [1e6] * PAIRS


@pytest.mark.parametrize(
    ("unseen", "repeated", "samples", "reason"),
    [
        (SLOW, FAST, [1e6], "remembers inputs"),
        (SLOW[:-1], FAST[:-1], [1e6], None),  # not every pair
        ([*SLOW[:-1], 1e6], FAST, [1e6], None),
        ([5e6], [5e6], [1e6], "in the timing loop alone"),
        ([3.9e6], [3.9e6], [1e6], None),
        ([5e4], [5e4], [1e3], None),  # threads that had to wake up
        ([5e6], [5e6], [1e6, 2e6], None),  # some samples were as slow
    ],
)
def test_times_of_single_calls_accuse_only_where_all_say_so(
    unseen: list[float], repeated: list[float], samples: list[float], reason: str | None
) -> None:
    found = dishonest_times(verified(unseen, repeated, samples))
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("took", "spent", "samples", "accused"),
    [
        ([3e4] * 8, [3e4] * 8, [1e4] * 5, True),
        ([3e4] * 7 + [1e4], [3e4] * 8, [1e4] * 5, False),  # not every loop
        ([3e4] * 8, [1e4] * 8, [1e4] * 5, False),  # elapsed time alone
        ([1.9e4] * 8, [1.9e4] * 8, [1e4] * 5, False),
        ([2500.0] * 8, [2500.0] * 8, [1000.0] * 5, False),
        ([4500.0] * 8, [4500.0] * 8, [1000.0] * 5, True),
        ([3e4] * 8, [3e4] * 8, [1e4] * 4 + [3e4], True),  # the sample after the content changed
        ([3e4] * 8, [3e4] * 8, [1e4] * 3 + [3e4] * 2, False),
        ([], [], [1e4], False),
    ],
)
def test_times_of_restless_loops_accuse_only_where_all_say_so(
    took: list[float], spent: list[float], samples: list[float], accused: bool
) -> None:
    entrant = verified([], [], samples)
    entrant.restless = took, spent
    found = dishonest_loops(entrant)
    assert (found is not None) is accused


def test_what_a_call_waited_for_a_processor_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads on a busy machine: one waits for 4 ms, the other spins until it has its turn."""

    class Watch:
        def time(self, *_: object) -> int:
            return 5_000_000

    monkeypatch.setattr(memoization_probe, "Waits", lambda: nullcontext(SimpleNamespace(ns=4e6)))
    monkeypatch.setattr(memoization_probe, "_processor_clock", iter([1, 4_500_001]).__next__)
    calls = memoization_probe._Calls()
    calls.make(Watch(), None)  # type: ignore[arg-type]
    assert (calls.ns, calls.cpu_ns) == ([1_000_000.0], [4_500_000.0])


def test_no_descriptor_is_left_open_where_a_call_raises() -> None:
    """Else what we opened would count as a leak of the implementation."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match="on purpose"), Waits():
        raise ValueError("on purpose")
    assert len(os.listdir("/proc/self/fd")) == before


def test_waiting_for_a_processor_is_seen() -> None:
    """Of a thread that shares one core with a busy process."""
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with on_one_core(), subprocess.Popen(command, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        with Waits() as waits:
            ends = time.monotonic() + 1.0
            while time.monotonic() < ends:
                pass
        assert waits.ns >= 1_000_000
        busy.kill()


def test_elapsed_time_alone_accuses_nobody() -> None:
    """A scheduler that interrupts every second call is no proof."""
    entrant = verified(SLOW, FAST, [1e6])
    entrant.update(unseen_cpu_ns=FAST)
    assert dishonest_times(entrant) is None
    entrant = verified([9e6], [9e6], [1e6])
    entrant.update(unseen_cpu_ns=[1e6])
    assert dishonest_times(entrant) is None


@pytest.mark.parametrize(
    ("told_ms", "more_ms", "usual_ms", "warm", "accused"),
    [(1, 99, 1, False, True), (1, 9, 1, False, False), (25, 20.5, 1, False, False),
     (25, 50, 1, False, True), (1, 99, 40, False, False), (95.7, 95.9, 1, True, False),
     (95.7, 195, 1, True, True)],
)  # fmt: skip
def test_a_clock_that_stands_still_is_seen_by_the_other(
    told_ms: float, more_ms: float, usual_ms: float, warm: bool, accused: bool
) -> None:
    """The call that warms up before a visit is told by nobody, and takes as long as others."""
    entrant, copy = verified([], [], [told_ms * 1e6] * 3), verified([], [], [1e6] * 3)
    entrant.warm = warm
    entrant.overheads, copy.overheads = [more_ms * 1e6] * 3, [usual_ms * 1e6] * 3
    copy.update(role="limit")
    assert (dishonest_clock(entrant, [entrant, copy]) is not None) is accused


@pytest.mark.parametrize(("processors", "accused"), [(2.0, True), (0.9, False)])
def test_more_processor_time_than_there_is_accuses_the_clock(
    processors: float, accused: bool
) -> None:
    entrant = verified([], [], [1e6] * 3)
    count = os.cpu_count() or 1
    entrant.processors = [3.0 * count, 2.5 * count, processors * 1.1 * count]
    assert (dishonest_clock(entrant, [entrant]) is not None) is accused


def test_rows_to_judge_hold_the_first_and_the_last_and_differ_from_time_to_time() -> None:
    x = np.zeros((100_000, 64), np.float32)
    one, other = integrity.sampled_rows(x), integrity.sampled_rows(x)
    assert {0, len(x) - 1} <= set(one.tolist())
    assert len(one) <= 1024
    assert one.tolist() != other.tolist()
    assert integrity.sampled_rows(x[:3]).tolist() == [0, 1, 2]


def test_loops_on_changing_input_that_ended_early_are_no_evidence() -> None:
    """They ended since one was not slower than the samples of that moment."""
    entrant, _ = timed(load("max_shift"))
    slow = [1e9] * memoization_probe.LOOPS
    entrant.restless = slow[1:], slow[1:]
    assert dishonest_loops(entrant) is None
    entrant.restless = slow, slow
    assert "alone" in str(dishonest_loops(entrant))
