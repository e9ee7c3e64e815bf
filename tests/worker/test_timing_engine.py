"""What surrounds a timing: warm-up, threads, caches, memory, the machine's conditions."""

from __future__ import annotations

import mmap
import os
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from harness.experiments.throughput.diagnostics import doubts
from harness.experiments.throughput.entrants import ALIGNMENT, HostEntrant, aligned
from harness.experiments.throughput.interference import (
    Reading,
    conditions,
    read,
    summarise,
    troubles,
    warnings_of,
)
from harness.machine.sysfs import Cache
from harness.records import ThroughputRecord
from harness.records.throughput import Conditions
from harness.worker.client import RemoteImplementation
from harness.worker.timing import cache_flush, memory_layout, thread_pools
from harness.worker.timing.warmup import BATCH_NS, STALLS, warm_up


def clock(times: Callable[[int], float]) -> tuple[Callable[[int], int], list[int]]:
    """A fake `time_calls`: `times` gives the ns of one call by how many were made before."""
    made: list[int] = []

    def time_calls(calls: int) -> int:
        first = sum(made)
        made.append(calls)
        return round(sum(times(first + i) for i in range(calls)))

    return time_calls, made


def test_a_steady_call_is_warm_after_as_many_batches_as_must_not_gain() -> None:
    time_calls, made = clock(lambda i: 2e6)
    found = warm_up(time_calls)
    assert found.settled
    assert len(made) == 1 + STALLS
    assert found.per_call_ns == 2e6


def test_the_warm_up_goes_on_while_calls_get_faster() -> None:
    time_calls, _ = clock(lambda i: 2e6 * max(0.5, 0.95**i))
    found = warm_up(time_calls)
    assert found.settled
    assert found.calls >= 14  # 0.95**14 = 0.49: so long it fell
    assert found.per_call_ns == 1e6


def test_a_second_compilation_is_waited_for_where_it_is_announced_by_a_minimum() -> None:
    time_calls, _ = clock(lambda i: 2e6 if i < 30 else 1e6)
    assert warm_up(time_calls, minimum_ns=70_000_000).per_call_ns == 1e6


def test_the_cap_ends_a_warm_up_that_never_settles_and_says_so() -> None:
    time_calls, _ = clock(lambda i: 2e6 * 0.97**i)
    found = warm_up(time_calls, cap_ns=20_000_000)
    assert not found.settled
    assert found.elapsed_ns >= 20_000_000


def test_two_long_calls_are_enough_and_accuse_nothing() -> None:
    time_calls, made = clock(lambda i: 5e8 - 1e8 * i)
    found = warm_up(time_calls, cap_ns=1_000_000)
    assert found.settled
    assert found.per_call_ns == 4e8
    assert made == [1, 1]


def test_short_calls_are_batched_to_a_millisecond() -> None:
    time_calls, made = clock(lambda i: 1e3)
    assert warm_up(time_calls).per_call_ns == 1e3
    assert made[-1] * 1e3 >= BATCH_NS


def test_a_call_that_compiled_is_no_warm_up() -> None:
    """It took all the time there was: the calls after it begin again, and calibrate the samples."""
    took = iter([212_000_000])

    def time_calls(count: int) -> int:
        return next(took, 1_000 * count)

    found = warm_up(time_calls, cap_ns=200_000_000)
    assert found.settled
    assert found.per_call_ns == 1e3
    assert found.calls > 3000


def test_threads_are_set_and_read_back_by_one_call() -> None:
    numba = pytest.importorskip("numba")
    before = {**thread_pools.sizes(), "numba": numba.get_num_threads()}
    try:
        thread_pools.limit(1)
        assert set(thread_pools.sizes().values()) == {1}
    finally:
        thread_pools.limit(max(before.values()))
        numba.set_num_threads(before["numba"])


@pytest.mark.parametrize(
    ("found", "asked", "words"),
    [
        ({"openblas": 1, "torch": 4}, 1, "torch has 4"),
        ({"openblas": 1}, 1, None),
        ({"openblas": 4}, 8, None),  # more than the machine has
        ({"openblas": 2}, 4, "openblas has 2"),
        ({}, 4, None),
    ],
)
def test_a_pool_of_another_size_is_told(
    found: dict[str, int], asked: int, words: str | None
) -> None:
    said = thread_pools.mismatch(found, asked, cores=4)
    assert said is None if words is None else words in str(said)


def test_each_core_sweeps_twice_what_it_can_leave_in_a_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caches = (Cache(bytes=1 << 20, shared_by=2), Cache(bytes=32 << 20, shared_by=8))
    monkeypatch.setattr(cache_flush, "data_caches", lambda: caches)
    assert cache_flush.share_bytes(8) == 8 << 20
    assert cache_flush.share_bytes(2) == 32 << 20
    monkeypatch.setattr(cache_flush, "data_caches", lambda: ())
    assert cache_flush.share_bytes(4) == 32 << 20


def test_a_sweep_writes_all_of_its_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_flush, "share_bytes", lambda cores: 1 << 16)
    evictor = cache_flush.Evictor()
    evictor.evict()
    evictor.evict()
    evictor.close()
    assert (evictor.buffer == 2).all()


def test_peak_memory_is_what_a_call_held_at_its_highest_not_what_it_left() -> None:
    def call() -> None:
        for size in (8 << 20, 24 << 20, 16 << 20):
            with mmap.mmap(-1, size) as block:  # not through malloc, which may keep what is freed
                block[::4096] = bytes(size // 4096)

    peak = memory_layout.peak_extra(call)
    if peak is None:
        pytest.skip("the kernel's high-water mark cannot be reset here")
    assert 23 << 20 <= peak <= 26 << 20
    assert (memory_layout.peak_extra(lambda: None) or 0) < 1 << 20


def test_placement_tells_alignment_and_node() -> None:
    block = np.frombuffer(mmap.mmap(-1, 1 << 16), np.uint8)
    assert memory_layout.placement(block)["alignment"] == 4096
    assert memory_layout.placement(block[64:])["alignment"] == 64
    nodes = memory_layout.placement(block)["nodes"]
    assert nodes is None or sum(nodes.values()) == pytest.approx(1.0)


def test_timed_inputs_begin_at_a_cache_line() -> None:
    x = np.arange(1000, dtype=np.float32).reshape(10, 100)
    for _ in range(8):
        copy = aligned(x)
        assert copy.ctypes.data % ALIGNMENT == 0
        assert np.array_equal(copy, x)


def reading(when: float, busy: float, stolen: float = 0.0, **changes: float) -> Reading:
    values = {"ours": 0.0, "mhz": 3000.0, "throttled": 0, **changes}
    return Reading(when, busy, stolen, 4 * when, values["ours"], values["mhz"],
                   int(values["throttled"]))  # fmt: skip


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (reading(10, 10, ours=10), set()),
        (reading(10, 20, ours=10), {"others"}),
        (reading(10, 10, 4.0, ours=10), {"stolen"}),
        (reading(10, 10, ours=10, throttled=3), {"throttled"}),
        (reading(10, 10, ours=10, mhz=2000), set()),  # idle at the moment of the reading
    ],
)
def test_troubles_are_told_with_cause_and_next_action(after: Reading, expected: set[str]) -> None:
    found = conditions(reading(0, 0), after)
    assert set(troubles(found)) == expected
    assert len(warnings_of(found)) == len(expected)


def test_what_the_system_does_not_tell_is_unknown_and_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system that knows no stolen time, no clock and no throttling."""
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [SimpleNamespace(user=1.0)])
    monkeypatch.setattr(psutil, "cpu_freq", lambda: None)
    nothing = read([2**22 + 1], tmp_path)  # no process has that number
    found = conditions(nothing, nothing)
    assert (found.stolen, found.others, found.mhz_last, found.throttled) == (None,) * 4
    assert nothing.ours == 0.0
    assert troubles(found) == {}


def test_the_counters_of_a_kernel_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the processors that this process may use, two of three."""
    times = namedtuple("times", "user nice system idle iowait irq softirq steal guest guest_nice")
    one = times(1.0, 0.0, 1.0, 7.0, 0.25, 0.5, 0.25, 1.0, 1.0, 0.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [one] * 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    for n in range(3):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{n}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text("2\n")
    found = read([os.getpid()], tmp_path)
    assert (found.busy, found.stolen, found.total) == (5.5, 2.0, 22.0)
    assert found.throttled == 4
    assert found.ours == pytest.approx(sum(os.times()[:4]), abs=0.5)


def entrant(role: str = "limit", **fields: object) -> HostEntrant:
    record = ThroughputRecord(implementation="a", status="ok", role=role, **fields)  # type: ignore[arg-type]
    return HostEntrant(record, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "processors", "faults", "words"),
    [
        ({"threads": 1}, 1.0, 0.0, None),
        ({"threads": 1}, 3.9, 0.0, "used 3.9 processors though asked for 1 thread"),
        ({"threads": 1, "threads_found": {"torch": 4}}, 1.0, 0.0, "torch has 4"),
        ({"threads": 1, "warm_up_settled": False, "warm_up_ns": 2e8}, 1.0, 0.0, "getting faster"),
        ({"allocating": False, "array_bytes": 1 << 20, "threads": 1}, 1.0, 300.0, "300 page faul"),
        ({"allocating": True, "array_bytes": 1 << 20, "threads": 1}, 1.0, 300.0, None),
    ],
)  # fmt: skip
def test_a_doubt_names_its_cause(
    fields: dict[str, object], processors: float, faults: float, words: str | None
) -> None:
    one = entrant("implementation", **fields)
    one.processors, one.faults = [processors] * 3, [faults] * 3
    found = doubts(one, cores=4)
    assert found == [] if words is None else words in found[0]


def test_a_run_is_summed_up_in_three_lines() -> None:
    bad = Conditions(seconds=1.0, stolen=0.1, others=0.9)
    records = [
        ThroughputRecord(implementation="copy", status="ok", conditions=bad, noisy=False),
        ThroughputRecord(implementation="copy", status="ok", conditions=Conditions(seconds=1.0)),
        ThroughputRecord(implementation="a", status="ok", warnings=["something"], noisy=True,
                         undecided="known to ±9%: why"),
    ]  # fmt: skip
    lines = summarise(records)
    assert len(lines) == 3
    assert "1 of 2 are not known to the precision wanted; a: known to ±9%: why" in lines[0]
    assert "the hypervisor gave 10.0%" in lines[1]
    assert "other programs used 0.9 processors" in lines[1]
    assert "(1 of 2 groups)" in lines[1]
    assert "a (1)" in lines[2]


def test_what_is_timed_on_one_thread_has_one_core_the_same_for_everyone() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    workers = [
        RemoteImplementation(f"limit {k}", {"module": "harness.machine.copy_limit"})
        for k in range(2)
    ]

    def cores(worker: RemoteImplementation) -> set[int]:
        return os.sched_getaffinity(worker.pid or 0)

    try:
        for worker in workers:
            worker.set_threads(1, bound=True)
        assert [cores(w) for w in workers] == [{allowed[-1]}] * 2
        before = [w.pid for w in workers]
        workers[0].set_threads(len(allowed), bound=True)
        workers[1].set_threads(1, bound=True)
        assert cores(workers[0]) == set(allowed)
        assert [w.pid == b for w, b in zip(workers, before, strict=True)] == [
            len(allowed) == 1,
            True,
        ]  # libraries look once how many cores there are
    finally:
        for worker in workers:
            worker.stop()
