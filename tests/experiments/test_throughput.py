"""Timings: who takes part, what is flagged, and that a wrong result is never ranked.

Nothing here asserts a time: speeds are shown by benchmarks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from contexts import MakeContext

from harness.experiments.profiles import SMOKE, Timing
from harness.experiments.throughput import host as throughput
from harness.experiments.throughput.diagnostics import noise
from harness.experiments.throughput.host import baseline_of, describe_fit, set_against_limit
from harness.experiments.throughput.rounds import HostEntrant
from harness.records import ThroughputRecord
from harness.records.reader import cell_key
from harness.records.timing import CONTROL_SUFFIX
from harness.worker.client import RemoteImplementation

PROFILE = replace(
    SMOKE,
    timing={
        "cached": Timing((64,), 1 << 12, 3, ("one",), (64,), min_sample_ns=20_000, warm_up_ns=0)
    },
)
BODY = "e = np.exp(x - x.max(axis, keepdims=True)); return e / e.sum(axis, keepdims=True)"
Write = Callable[[str, str], Path]


def measured(context: Any) -> dict[tuple[str, bool | None], ThroughputRecord]:
    records = [r for unit in throughput.plan(context) for r in unit.measure()]
    return {(r.implementation, r.allocating): r for r in records}  # type: ignore[attr-defined]


def test_everyone_takes_part_in_the_same_rounds(make_context: MakeContext) -> None:
    context = make_context(["max_shift", "naive", "cupy_gpu"], PROFILE)
    found = measured(context)
    for key in [
        ("max_shift", False),
        ("max_shift", True),
        ("naive", False),
        ("max_shift (control)", False),
        ("copy_regular", False),
        ("copy_regular (control)", False),
    ]:
        record = found[key]
        assert record.status == "ok", record.reason
        assert len(record.samples_ns or []) == 3
        assert record.ci_low_ns is not None
        assert record.ci_high_ns is not None
        assert record.ci_low_ns <= (record.median_ns or 0) <= record.ci_high_ns
        assert record.percent_of_limit is not None
        assert record.threads == 1
    assert not any(name == "cupy_gpu" for name, _ in found)  # `device_throughput` has it
    assert found["max_shift", False].speedup == 1.0
    assert found["naive", False].baseline == "max_shift"
    assert found["naive", False].ranked


def test_bandwidth_counts_one_read_and_one_write(make_context: MakeContext) -> None:
    record = measured(make_context(["max_shift"], PROFILE))["max_shift", False]
    assert record.array_bytes == 64 * 64 * 4
    assert record.gbps == pytest.approx(2 * record.array_bytes / (record.median_ns or 0))


@pytest.mark.parametrize(
    "body",
    [
        "return np.zeros_like(x)",
        "return np.full_like(x, 1 / x.shape[axis])",
        "return x",
        "return x[:1]",
        "return np.full_like(x, np.nan)",
    ],
)
def test_a_wrong_result_is_kept_and_never_ranked(
    make_context: MakeContext, plain_file: Write, body: str
) -> None:
    context = make_context(["max_shift", plain_file("wrong", body)], PROFILE)
    record = measured(context)["wrong", True]
    assert record.status == "failed", record.reason
    assert record.ranked is False
    assert record.reason
    assert record.samples_ns


def test_a_crash_in_the_rounds_leaves_the_others_alone(
    make_context: MakeContext, plain_file: Write
) -> None:
    body = (
        "softmax.calls = getattr(softmax, 'calls', 0) + 1\n"
        "    if softmax.calls > 5: os.abort()\n    " + BODY
    )
    found = measured(make_context(["max_shift", plain_file("fragile", body)], PROFILE))
    assert found["fragile", True].status == "crashed"
    assert found["max_shift", False].status == "ok"


def test_the_rounds_of_several_processes_are_shared_by_them(
    make_context: MakeContext, plain_file: Write
) -> None:
    timing = replace(PROFILE.timing["cached"], rounds=7, processes=4, allocating_classes=())
    profile = replace(PROFILE, timing={"cached": timing})
    context = make_context(["max_shift", plain_file("mine", BODY)], profile)
    context.pool["copy_regular"].stop()  # of an earlier test
    started: list[tuple[str, int | None]] = []

    def noted(worker: Any, begin: Callable[[float], None], timeout: float) -> None:
        begin(timeout)
        started.append((worker.name, worker.pid))

    with pytest.MonkeyPatch.context() as patch:
        begin = RemoteImplementation._start
        patch.setattr(RemoteImplementation, "_start", lambda w, t: noted(w, partial(begin, w), t))
        found = measured(context)
    times = Counter(name for name, _ in started)
    assert len(set(started)) == len(started)
    assert {n: times[n] for n in ("mine", "copy_regular")} == {"mine": 4, "copy_regular": 1}
    for key in (("max_shift", False), ("max_shift (control)", False), ("mine", True)):
        record = found[key]
        assert (record.status, record.processes) == ("ok", 4), record.reason
        assert len(record.samples_ns or ()) == 8  # 2 each: 7 cannot be shared
    assert found["copy_regular", False].processes is None
    assert len(found["copy_regular", False].samples_ns or ()) == 4
    assert not any("copy" in name and "control" in name for name, _ in found)


def test_a_process_that_dies_after_the_first_is_told(
    make_context: MakeContext, plain_file: Write, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    body = (
        f"seen = {str(seen)!r}\n    count = len(open(seen).read()) if os.path.exists(seen) else 0\n"
        "    if not hasattr(softmax, 'known'):\n"
        "        softmax.known = True; open(seen, 'a').write('.')\n"
        "        if count > 2: os.abort()\n    " + BODY
    )
    timing = replace(PROFILE.timing["cached"], rounds=8, processes=8, allocating_classes=())
    context = make_context(
        ["max_shift", plain_file("mortal", body)],
        replace(PROFILE, timing={"cached": timing}),
    )
    found = measured(context)
    assert found["mortal", True].status == "crashed"
    assert found["max_shift", False].status == "ok"


def test_what_a_unit_announces_is_what_it_measures(make_context: MakeContext) -> None:
    for unit in throughput.plan(make_context(["max_shift", "cupy_gpu"], PROFILE)):
        assert sorted(cell_key(r) for r in unit.measure()) == sorted(unit.keys)


def test_the_baseline_is_the_first_that_runs_where_the_chosen_one_is_absent(
    make_context: MakeContext,
) -> None:
    assert baseline_of(make_context(["naive", "max_shift"], PROFILE)) == "max_shift"
    assert baseline_of(make_context(["naive", "online"], PROFILE)) == "naive"


def entrant(name: str, gbps: float, role: str = "implementation", mib: int = 256) -> HostEntrant:
    record = ThroughputRecord(
        implementation=name,
        role=role,  # type: ignore[arg-type]
        operation="copy" if role == "limit" else "softmax",
        regime="streaming",
        array_bytes=mib << 20,
        status="ok",
        gbps=gbps,
        gbps_low=gbps * 0.99,
        gbps_high=gbps * 1.01,
        ranked=True,
    )
    return HostEntrant(record, None)  # type: ignore[arg-type]


def test_faster_than_a_copy_beyond_the_cache_is_rejected() -> None:
    limit, lying, honest = entrant("copy_regular", 10, "limit"), entrant("a", 12), entrant("b", 9)
    set_against_limit([limit, lying, honest], 32 << 20)
    assert lying.record.status == "failed"
    assert lying.record.ranked is False
    assert "implausible" in str(lying.record.reason)
    assert honest.record.status == "ok"
    assert honest.record.percent_of_limit == pytest.approx(90)
    assert limit.record.percent_of_limit == pytest.approx(100)


def test_in_cache_a_copy_is_no_limit() -> None:
    limit, fast = entrant("copy_regular", 10, "limit", 1), entrant("a", 12, mib=1)
    set_against_limit([limit, fast], 32 << 20)
    assert fast.record.status == "ok"


def test_the_best_copy_is_the_limit() -> None:
    slow = entrant("copy_regular", 10, "limit")
    best = entrant("copy_nontemporal", 20, "limit")
    one = entrant("a", 10)
    set_against_limit([slow, best, one], 32 << 20)
    assert one.record.limit == "copy_nontemporal"
    assert one.record.percent_of_limit == pytest.approx(50)


def test_without_a_limit_nothing_is_claimed() -> None:
    one = entrant("a", 10)
    set_against_limit([one], 32 << 20)
    assert one.record.percent_of_limit is None


@pytest.mark.parametrize(
    ("factor", "noisy"), [(1.0, False), (1.2, True), (0.8, True)], ids=["same", "slow", "fast"]
)
def test_a_control_that_differs_makes_the_group_noisy(factor: float, noisy: bool) -> None:
    original, control = entrant("a", 10), entrant("a" + CONTROL_SUFFIX, 10, "control")
    original.samples = [100.0 + i % 3 for i in range(9)]
    control.samples = [s * factor for s in original.samples]
    assert noise([original, control]) is noisy


def test_copies_that_lost_their_processors_make_the_group_noisy() -> None:
    copy, control = (
        entrant("copy_regular", 10, "limit"),
        entrant("a" + CONTROL_SUFFIX, 1, "control"),
    )
    copy.record = copy.record.model_copy(update={"operation": "copy"})
    original = entrant("a", 10)
    original.samples = control.samples = copy.samples = [100.0] * 9
    copy.preempted = [0] * 9
    assert noise([copy, original, control]) is False
    copy.preempted = [2] * 5 + [0] * 4
    assert noise([copy, original, control]) is True


def test_without_a_control_noise_is_unknown() -> None:
    assert noise([entrant("a", 10)]) is None


def test_fit_is_told_against_the_caches() -> None:
    assert "fits in one core's L2" in describe_fit(1 << 18, 1 << 20, 32 << 20)
    assert "0.5 times the last-level cache (32 MiB)" in describe_fit(8 << 20, 1 << 20, 32 << 20)
    assert "cache sizes unknown" in describe_fit(8 << 20, None, None)
