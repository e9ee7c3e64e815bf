"""Several implementations at a time: in what order, what beside what, and what a fault costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from harness.experiments import accuracy, budget, overflow, side_by_side
from harness.experiments.context import Part, Unit
from harness.experiments.profiles import SMOKE, Filters
from harness.experiments.runner import Request, run
from harness.experiments.side_by_side import AHEAD, ELEMENTS, SideBySide, measured, once, unit_of
from harness.records import AccuracyRecord, Record
from harness.records.reader import read_run
from harness.worker.local import load

Write = Callable[[str, str], Path]
BLANK = AccuracyRecord(implementation="a", status="ok")
WAIT_S = 30.0


def record(name: str, seed: int) -> AccuracyRecord:
    return BLANK.model_copy(update={"implementation": name, "seed": seed})


def part(name: str, seed: int, before: Callable[[], object] = lambda: None) -> Part:
    """Gives one record, after `before()`."""

    def measure() -> Iterator[Record]:
        before()
        yield record(name, seed)

    return Part(name, measure)


def unit(experiment: str, *parts: Part) -> Unit:
    return unit_of(experiment, "", (BLANK,), lambda: parts, 1.0)


def names(records: Iterator[Record]) -> list[tuple[str, int | None]]:
    return [(str(r.implementation), r.seed) for r in records]


def test_different_implementations_are_measured_at_the_same_time() -> None:
    together = Barrier(2)  # broken unless both are there

    def meet() -> None:
        together.wait(WAIT_S)

    both = unit("accuracy", part("a", 0, meet), part("b", 0, meet))
    assert names(both.measure()) == [("a", 0), ("b", 0)]


def test_records_come_in_the_order_of_the_parts_however_long_each_takes() -> None:
    later = Event()
    first = part("a", 0, lambda: later.wait(WAIT_S))
    assert names(unit("accuracy", first, part("b", 0, later.set)).measure()) == [
        ("a", 0), ("b", 0),
    ]  # fmt: skip


def test_an_implementation_does_one_part_at_a_time_in_the_order_of_the_units() -> None:
    inside: list[int] = []
    seen: list[int] = []

    def busy(seed: int) -> None:
        inside.append(seed)
        time.sleep(0.002)
        seen.extend(inside)
        inside.remove(seed)

    units = [unit("accuracy", part("a", i, lambda i=i: busy(i)), part("b", i)) for i in range(40)]
    with SideBySide() as side_by_side:
        found = [names(records) for _, records in measured(side_by_side, units)]
    assert found == [[("a", i), ("b", i)] for i in range(40)]
    assert seen == list(range(40))  # never two at once


def begun_when(units: Sequence[Unit], begun: list[int]) -> list[list[int]]:
    """What had begun when each unit's records were due, for units whose parts note themselves."""
    found = []
    with SideBySide() as side_by_side:
        for _, records in measured(side_by_side, units):
            list(records)
            found.append(sorted(begun))
    return found


def test_nothing_is_begun_beyond_what_is_timed() -> None:
    begun: list[int] = []

    def of(place: int, experiment: str) -> Unit:
        def parts() -> Sequence[Part]:
            begun.append(place)
            return (part("a", place),)

        return unit_of(experiment, "", (BLANK,), parts, 1.0)

    timing = Unit("throughput", "", (BLANK,), lambda: iter(()), timed=True)
    units = [of(0, "accuracy"), of(1, "overflow"), timing, of(3, "accuracy"), of(4, "overflow")]
    assert begun_when(units, begun) == [[0, 1], [0, 1], [0, 1], [0, 1, 3, 4], [0, 1, 3, 4]]


def test_so_many_units_are_begun_ahead_and_no_more() -> None:
    begun: list[int] = []

    def of(place: int) -> Unit:
        def parts() -> Sequence[Part]:
            begun.append(place)
            return (part("a", place),)

        return unit_of("accuracy", "", (BLANK,), parts, 1.0)

    units = [of(i) for i in range(AHEAD + 3)]
    seen = begun_when(units, begun)
    assert [len(s) for s in seen[:4]] == [AHEAD, AHEAD + 1, AHEAD + 2, AHEAD + 3]
    begun.clear()
    half = BLANK.model_copy(update={"rows": 1, "classes": ELEMENTS // 2})
    large = [replace(u, coordinates=(half,)) for u in units]
    assert [len(s) for s in begun_when(large, begun)[:3]] == [2, 3, 4]
    begun.clear()
    too_large = BLANK.model_copy(update={"rows": 2, "classes": ELEMENTS})
    alone = [replace(u, coordinates=(too_large,)) for u in units]
    assert [len(s) for s in begun_when(alone, begun)[:3]] == [1, 2, 3]


def test_what_a_part_gave_before_a_defect_is_kept_and_the_others_go_on() -> None:
    def broken() -> Iterator[Record]:
        yield record("b", 0)
        raise RuntimeError("a defect")

    units = [
        unit("accuracy", part("a", 0), Part("b", broken), part("c", 0)),
        unit("x", part("b", 1)),
    ]
    with SideBySide() as side_by_side:
        (_, broken_off), (_, whole) = measured(side_by_side, units)
        assert names(islice(broken_off, 2)) == [("a", 0), ("b", 0)]
        with pytest.raises(RuntimeError, match="a defect"):
            next(broken_off)
        assert names(whole) == [("b", 1)]


def test_what_waits_is_left_out_when_a_run_ends() -> None:
    done: list[int] = []
    started, over = Event(), Event()

    def hold() -> None:
        started.set()
        over.wait(WAIT_S)

    with SideBySide() as side_by_side:
        side_by_side.begin(
            [part("a", 0, hold), *(part("a", i, lambda: done.append(1)) for i in (1, 2))]
        )
        assert started.wait(WAIT_S)
        Thread(target=lambda: (time.sleep(0.2), over.set())).start()
    assert not done


def test_what_has_a_time_limit_begins_when_it_is_its_turn() -> None:
    """A part of a budget leaves out units: they must not have begun."""
    limited = budget.within_budget(
        [unit("accuracy", part("a", 0))], budget.BudgetPart("", 9.0), lambda: 0.0
    )
    assert [u.parts for u in limited] == [None]
    assert names(limited[0].measure()) == [("a", 0)]


def test_what_several_need_is_made_once() -> None:
    made: list[int] = []

    def make() -> int:
        time.sleep(0.05)
        made.append(1)
        return len(made)

    get = once(make)
    found: list[int] = []
    threads = [Thread(target=lambda: found.append(get())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 5


def test_accuracy_and_overflow_are_measured_side_by_side(
    make_context: Callable[..., object],
) -> None:
    context = make_context(["max_shift"])
    for plan in (accuracy.plan, overflow.plan):
        assert all(u.parts is not None or u.concluding for u in plan(context))  # type: ignore[arg-type]


def test_a_crash_is_told_where_it_is_measured(plain_file: Write, tmp_path: Path) -> None:
    """And costs the units that were begun ahead nothing."""
    profile = replace(
        SMOKE, experiments=("accuracy",), dtypes=("float32",), sweep_classes=(3, 4, 5), families=()
    )
    chosen = [load("max_shift"), load(plain_file("crashes", "os.abort()"))]
    records = run(Request(chosen, profile, Filters(), results=tmp_path / "results"))
    found = [r for r in read_run(records.path).records if isinstance(r, AccuracyRecord)]
    assert [(r.classes, r.implementation, r.status) for r in found] == [
        (classes, name, status)
        for classes in (3, 4, 5)
        for name, status in (("max_shift", "ok"), ("crashes", "crashed"))
    ]


def test_a_slow_implementation_keeps_none_waiting(
    plain_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are units ahead when its first result comes."""
    monkeypatch.setattr(side_by_side, "AHEAD", 3)
    log = tmp_path / "log"
    right = "e = np.exp(x - x.max(axis, keepdims=True)); return e / e.sum(axis, keepdims=True)"
    note = f"open({str(log)!r}, 'a').write(f'{{__name__}} {{x.shape[-1]}}\\n')"
    until = f"[time.sleep(0.02) for _ in range(500) if 'quick 5' not in open({str(log)!r}).read()]"
    profile = replace(
        SMOKE, experiments=("accuracy",), dtypes=("float32",), sweep_classes=(3, 4, 5), families=()
    )
    log.touch()
    chosen = [
        load(plain_file("slow", f"{until}; {note}\n    {right}")),
        load(plain_file("quick", f"{note}\n    {right}")),
    ]
    run(Request(chosen, profile, Filters(), results=tmp_path / "results"))
    lines = [line.rpartition("_")[2] for line in log.read_text().splitlines()]
    assert lines[:3] == ["quick 3", "quick 4", "quick 5"]
