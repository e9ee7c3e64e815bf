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

import numpy as np
import pytest
from contexts import MakeContext

from harness.comparison.timings import visits_of
from harness.experiments.profiles import SMOKE, Timing
from harness.experiments.throughput import host as throughput
from harness.experiments.throughput.diagnostics import _why, figures, undecided
from harness.experiments.throughput.entrants import HostEntrant, doubt
from harness.experiments.throughput.host import (
    baseline_of,
    contradict,
    describe_fit,
    set_against_limit,
)
from harness.numerics.statistics import ratio
from harness.records import ThroughputRecord
from harness.records.reader import cell_key
from harness.records.timing import CONTROL_SUFFIX
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.worker.timing.calm import Calm

PROFILE = replace(
    SMOKE,
    timing={
        "cached": Timing(
            (64,), 1 << 12, ("one",), (64,), min_sample_ns=20_000, warm_up_ns=0, seconds=0.1
        )
    },
)
BODY = "e = np.exp(x - x.max(axis, keepdims=True)); return e / e.sum(axis, keepdims=True)"
Write = Callable[[str, str], Path]


def measured(context: Any) -> dict[tuple[str, bool | None], ThroughputRecord]:
    records = [r for unit in throughput.plan(context) for r in unit.measure()]
    return {(r.implementation, r.allocating): r for r in records}  # type: ignore[attr-defined]


def test_everyone_is_visited_and_set_against_the_baseline(make_context: MakeContext) -> None:
    context = make_context(["max_shift", "naive", "cupy_gpu"], PROFILE)
    found = measured(context)
    for key in [
        ("max_shift", False),
        ("max_shift", True),
        ("naive", False),
        ("max_shift (control)", False),
        ("copy_regular", False),
    ]:
        record = found[key]
        assert record.status == "ok", record.reason
        assert record.visits is not None
        assert record.visits >= 6
        assert len(record.samples_ns or []) % record.visits == 0
        assert record.best_ns == pytest.approx(min(record.samples_ns or []), rel=1e-5)
        assert (record.best_low_ns or 0) <= (record.best_ns or 0) <= (record.median_ns or 0)
        assert record.percent_of_limit is not None
        assert record.threads == 1
    assert not any(name == "cupy_gpu" for name, _ in found)  # `device_throughput` has it
    its = found["max_shift", False]
    assert its.speedup == its.speedup_low == its.speedup_high == 1.0
    for record in (found["naive", False], found["max_shift", True]):
        again = ratio(visits_of(its), visits_of(record))  # of rounded times
        assert record.speedup == pytest.approx(again.value, rel=0.02)
        assert len(record.visits_at or []) == record.visits
        assert (record.speedup_low or 0) <= record.speedup <= (record.speedup_high or 0)
    assert found["naive", False].baseline == "max_shift"
    assert found["naive", False].ranked


def test_bandwidth_counts_one_read_and_one_write(make_context: MakeContext) -> None:
    record = measured(make_context(["max_shift"], PROFILE))["max_shift", False]
    assert record.array_bytes == 64 * 64 * 4
    assert record.gbps == pytest.approx(2 * record.array_bytes / (record.best_ns or 0))
    assert (record.gbps_low or 0) <= record.gbps


WRONG = {
    "zeros": "return np.zeros_like(x)",
    "uniform": "return np.full_like(x, 1 / x.shape[axis])",
    "input": "return x",
    "one_row": "return x[:1]",
    "nans": "return np.full_like(x, np.nan)",
}


def test_a_wrong_result_is_kept_and_never_ranked(
    make_context: MakeContext, plain_file: Write
) -> None:
    wrong = [plain_file(name, body) for name, body in WRONG.items()]
    found = measured(make_context(["max_shift", *wrong], PROFILE))
    for name in WRONG:
        record = found[name, True]
        assert record.status == "failed", (name, record.reason)
        assert record.ranked is False, name
        assert record.reason, name
        assert record.samples_ns, name


def test_a_crash_among_the_visits_leaves_the_others_alone(
    make_context: MakeContext, plain_file: Write
) -> None:
    body = (
        "softmax.calls = getattr(softmax, 'calls', 0) + 1\n"
        "    if softmax.calls > 5: os.abort()\n    " + BODY
    )
    found = measured(make_context(["max_shift", plain_file("fragile", body)], PROFILE))
    assert found["fragile", True].status == "crashed"
    assert found["max_shift", False].status == "ok"


def test_where_the_baseline_dies_its_control_takes_its_place(
    make_context: MakeContext, plain_file: Write, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    body = (
        "softmax.calls = getattr(softmax, 'calls', 0) + 1\n"
        f"    if softmax.calls == 1: softmax.first = not os.path.exists({str(seen)!r})\n"
        f"    open({str(seen)!r}, 'a').close()\n"
        "    if softmax.first and softmax.calls > 60: os.abort()\n    " + BODY
    )
    timing = replace(PROFILE.timing["cached"], rounds=12, allocating_classes=())
    profile = replace(PROFILE, timing={"cached": timing})
    context = make_context([plain_file("mortal", body), "max_shift"], profile)
    context.baseline = "mortal"
    found = measured(context)
    statuses = {found["mortal", True].status, found["mortal (control)", True].status}
    assert statuses == {"crashed", "ok"}
    assert found["max_shift", False].status == "ok"
    other = found["max_shift", False]
    assert (other.visits or 0) >= 12
    assert other.speedup is not None
    assert other.input_seed is not None  # and its integrity was tested all the same


def test_each_of_several_processes_is_visited_as_often(
    make_context: MakeContext, plain_file: Write
) -> None:
    timing = replace(PROFILE.timing["cached"], rounds=7, processes=3, allocating_classes=())
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
    assert {n: times[n] for n in ("mine", "copy_regular")} == {"mine": 3, "copy_regular": 1}
    for key in (("max_shift", False), ("max_shift (control)", False), ("mine", True)):
        record = found[key]
        assert (record.status, record.processes) == ("ok", 3), record.reason
        assert record.visits == 21  # 7 each
    assert found["copy_regular", False].processes is None
    assert found["copy_regular", False].visits == 7


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
    timing = replace(PROFILE.timing["cached"], rounds=2, processes=4, allocating_classes=())
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
    found = HostEntrant(record, None)  # type: ignore[arg-type]
    visited(found, 10.0 / gbps)
    return found


def test_faster_than_a_copy_beyond_the_cache_is_rejected() -> None:
    limit, lying, honest = entrant("copy_regular", 10, "limit"), entrant("a", 12), entrant("b", 9)
    set_against_limit([limit, lying, honest], 32 << 20)
    assert lying.record.status == "failed"
    assert lying.record.ranked is False
    assert "implausible" in str(lying.record.reason)
    assert honest.record.status == "ok"
    assert honest.record.percent_of_limit == pytest.approx(90, rel=0.01)
    assert limit.record.percent_of_limit == 100.0


def test_what_may_be_as_fast_as_the_copy_is_shown_no_faster() -> None:
    """Of a share above 1 no more is known than that it may be 1, which is all there can be."""
    limit, fast = entrant("copy_regular", 10, "limit"), entrant("a", 10.05)
    for one in (limit, fast):
        visited(one, 10 / (one.record.gbps or 0), scatter=0.05)
    set_against_limit([limit, fast], 32 << 20)
    assert fast.ratio_to(limit).value < 1.0
    assert fast.record.percent_of_limit == 100.0
    assert fast.record.status == "ok"


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
    assert one.record.percent_of_limit == pytest.approx(50, rel=0.01)


def test_without_a_limit_nothing_is_claimed() -> None:
    one = entrant("a", 10)
    set_against_limit([one], 32 << 20)
    assert one.record.percent_of_limit is None


def visited(entrant: HostEntrant, factor: float, scatter: float = 0.01, count: int = 40) -> None:
    """So many visits to an entrant, of one sample, above its least time by so much on average."""
    rng = np.random.default_rng([round(1e6 * factor), *entrant.record.implementation.encode()])
    own = 100.0 * factor * (1.0 + scatter * rng.exponential(1.0, count))
    entrant.samples, entrant.seconds = own.tolist(), 0.5
    entrant.at = [float(k) for k in range(count)]
    entrant.processors = entrant.faults = [1.0] * count


def group(control: float, factor: float = 2.0, scatter: float = 0.01) -> list[HostEntrant]:
    """A baseline, its control, which takes so many times as long, and another."""
    found = [entrant("a", 10), entrant("a" + CONTROL_SUFFIX, 10, "control"), entrant("b", 10)]
    for one, by in zip(found, (1.0, control, factor), strict=True):
        visited(one, by, scatter)
    found[1].samples = [control * s for s in found[0].samples[::-1]]
    return found


GRID = PROFILE.timing["cached"]


@pytest.mark.parametrize(
    ("control", "scatter", "words"),
    [
        (1.0, 0.01, None),
        (1.2, 0.01, "two processes with the same code differ by 2"),
        (1 / 1.2, 0.01, "two processes with the same code differ by 2"),
        (1.0, 2.0, "more (--seconds)"),
        (1.035, 0.5, "needs about"),  # what processes differ by leaves little for the visits
    ],
)
def test_a_ratio_that_is_not_known_well_enough_says_why_and_what_to_do(
    control: float, scatter: float, words: str | None
) -> None:
    found = group(control, scatter=scatter)
    undecided(found, "a", GRID)
    for one in (found[0], found[2]):
        assert one.record.noisy is (words is not None)
        assert words is None or words in str(one.record.undecided)


@pytest.mark.parametrize("unsure", [0.0, 0.01, 0.02, 0.03, 0.045, 0.06])
def test_what_is_lacking_is_never_less_than_nothing(unsure: float) -> None:
    one = entrant("b", 10)
    visited(one, 1.0)
    for half in np.arange(0.001, 0.2, 0.001):
        if half + unsure > np.log1p(0.05):
            assert "about -" not in _why(one, float(half), unsure, 0.05, ())


def test_a_second_moment_that_contradicts_the_first_does_not_replace_it() -> None:
    def record(low: float, high: float) -> ThroughputRecord:
        return entrant("b", 10).record.model_copy(
            update={"speedup": (low * high) ** 0.5, "speedup_low": low, "speedup_high": high}
        )

    wide = record(5.6, 8.2)
    assert contradict(wide, record(0.046, 0.048))
    assert contradict(record(0.046, 0.048), wide)
    assert not contradict(wide, record(6.0, 6.1))


def test_what_happened_on_the_machine_is_the_cause_that_is_told() -> None:
    found = group(1.0, scatter=2.0)
    undecided(found, "a", GRID, ["other programs used 1 processor; stop them"])
    assert "other programs used 1 processor" in str(found[2].record.undecided)


def test_what_two_processes_differ_by_widens_every_interval_and_several_take_its_place() -> None:
    found = group(1.04)
    unsure = doubt(found, found[0])
    assert unsure == pytest.approx(np.log(1.04), abs=0.01)
    several = group(1.04)
    several[1].update(processes=8)
    assert doubt(several, several[0]) == 0.0
    narrow, wide = (figures(found[2], found[0], GRID, by) for by in (0.0, unsure))
    assert wide["speedup"] == narrow["speedup"] == pytest.approx(0.5, rel=0.01)
    assert wide["speedup_low"] == pytest.approx(narrow["speedup_low"] / 1.04, rel=0.01)
    assert wide["speedup_high"] == pytest.approx(narrow["speedup_high"] * 1.04, rel=0.01)


def test_without_a_control_two_processes_are_not_known_to_differ() -> None:
    one = entrant("a", 10)
    visited(one, 1.0)
    undecided([one], "a", GRID)
    assert one.record.noisy is None
    assert doubt([one], one) == 0.0


def test_who_was_never_visited_in_a_calm_moment_says_so(make_context: MakeContext) -> None:
    class Never(Calm):
        @property
        def limit_ns(self) -> float:
            return 1.0

    context = make_context(["max_shift", "naive"], PROFILE)
    context.calm = Never()
    for record in measured(context).values():
        assert record.visits == 6
        assert record.disturbed == 1.0
        assert record.noisy
        assert "none of" in str(record.undecided)


class Answering:
    """A worker whose samples took a millisecond, and waited for so many ns of it; the last is best.

    Args:
        waits: of the samples of each visit.
    """

    def __init__(self, *waits: tuple[float, ...]) -> None:
        self.waits = iter(waits)

    def bind(self, cores: int) -> None:
        pass

    def request(self, command: str, order: dict[str, Any], **_: Any) -> tuple[dict[str, Any], Any]:
        samples = [[1e6 - k, 1e6, waited, 0.0] for k, waited in enumerate(next(self.waits))]
        return {"probe_ns": 1000.0, "samples": samples, "elsewhere_ns": 0.0}, []


@pytest.mark.parametrize(
    ("waits", "counts"),
    [
        ([(0.0, 0.0)], [True]),
        ([(0.0, 1e4)], [True]),
        ([(0.0, 1e5)], [False]),
        ([(8e6, 0.0)], [True]),
        ([(3e5, 8e5), (9e5, 1e6), (0.0, 9e5), (4e5, 4e6)], [True, True, True, False]),
        ([(3e6, 3e6)], [False]),
    ],
)
def test_a_visit_counts_whose_best_sample_waited_for_no_other_program(
    waits: list[tuple[float, ...]], counts: list[bool]
) -> None:
    one = entrant("a", 10)
    one.samples, one.at, one.samples_a_visit = [], [], 2
    one.worker = Answering(*waits, (8e6, 8e6))  # type: ignore[assignment]
    for made in counts:
        before = one.visited
        one.visit(1.0)
        assert (one.visited > before) == made
    assert (one.tries, one.disturbed) == (len(counts), counts.count(False))
    one.visit(1.0, anyway=True)
    assert one.visited == counts.count(True) + 1
    assert set(one.visits.ns) == {1e6 - 1}


def test_who_answers_with_fewer_samples_than_were_asked_for_is_at_fault() -> None:
    one = entrant("a", 10)
    one.worker, one.samples_a_visit = Answering((0.0,) * 3), 5  # type: ignore[assignment]
    with pytest.raises(WorkerFault, match="3 of 5 samples"):
        one.visit(1.0)


def test_an_implementation_cannot_say_what_is_calm(
    make_context: MakeContext, plain_file: Write
) -> None:
    """What is calm is told by our own copies: others would make the rest look disturbed."""
    lying = "from harness.worker.timing import host_timer; host_timer.probe_ns = lambda: 1; "
    context = make_context(["max_shift", plain_file("liar", lying + BODY)], PROFILE)
    found = measured(context)
    assert context.calm.limit_ns > 100.0
    assert found["max_shift", False].status == "ok"


def test_a_clock_that_tells_no_time_gives_no_ratio() -> None:
    found = group(1.0)
    found[2].samples = [0.0] * 40
    undecided(found, "a", GRID)
    assert found[2].record.noisy
    assert figures(found[2], found[0], GRID, 0.0)["speedup_low"] == 0.0


def test_fit_is_told_against_the_caches() -> None:
    assert "fits in one core's L2" in describe_fit(1 << 18, 1 << 20, 32 << 20)
    assert "0.5 times the last-level cache (32 MiB)" in describe_fit(8 << 20, 1 << 20, 32 << 20)
    assert "cache sizes unknown" in describe_fit(8 << 20, None, None)
