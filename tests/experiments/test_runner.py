"""One invocation: complete whatever happens, and resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from contexts import MakeContext

from harness.experiments import runner
from harness.experiments.context import Unit
from harness.experiments.profiles import QUICK, SMOKE, Filters, narrow
from harness.experiments.runner import NothingToRun, Progress, Request, run
from harness.records.reader import CELLS_FILE, cell_key, read_run
from harness.worker.local import load

TINY = replace(
    SMOKE,
    dtypes=("float32",),
    sweep_classes=(2, 10),
    families=(),
    map_offsets=(100.0,),
    map_classes=(2,),
    scan_points=64,
    timing={},
)
Write = Callable[[str, str], Path]


def request(tmp_path: Path, names: Sequence[str | Path], **changes: Any) -> Request:
    base: dict[str, Any] = {
        "implementations": [load(n) for n in names],
        "profile": TINY,
        "results": tmp_path / "results",
        "machine": "box",
        "command": ["test"],
    }
    return Request(**{**base, **changes})


def test_a_run_describes_itself(tmp_path: Path) -> None:
    lacks = tmp_path / "lacks.py"
    lacks.write_text(
        'IMPLEMENTATION = {"requires": ("no_such_package",)}\ndef softmax(x, axis=-1): ...',
        encoding="utf-8",
    )
    folder = run(request(tmp_path, ["max_shift", lacks])).path
    found = read_run(folder)
    assert folder.parent == tmp_path / "results" / "box"
    assert found.info.finished is not None
    assert len(found.records) == found.info.planned_cells
    by_name = {i.name: i for i in found.info.implementations}
    assert by_name["max_shift"].sha256
    assert by_name["max_shift"].exp_error_u["float32"] > 0
    assert not by_name["lacks"].available
    assert by_name["lacks"].unavailable_reason
    assert found.info.versions["numpy"]
    assert found.info.machine["slug"] == "box"


def test_a_dying_implementation_leaves_a_complete_run(tmp_path: Path, plain_file: Write) -> None:
    folder = run(request(tmp_path, ["max_shift", plain_file("dies", "os.abort()")])).path
    found = read_run(folder)
    assert found.info.finished is not None
    assert {r.status for r in found.records if r.implementation == "dies"} == {"crashed"}
    assert {r.status for r in found.records if r.implementation == "max_shift"} == {"ok"}


@pytest.mark.parametrize("lost", [9, 1], ids=["the end of a record", "a newline alone"])
def test_an_interrupted_run_is_resumed_to_the_same_cells(tmp_path: Path, lost: int) -> None:
    whole = read_run(run(request(tmp_path, ["max_shift"])).path)
    seen = 0

    def stop(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(tmp_path, ["max_shift"]), Progress(finished=stop))
    (folder,) = (f for f in (tmp_path / "results" / "box").iterdir() if f != whole.path)
    part = read_run(folder)
    assert part.info.finished is None
    assert 0 < len(part.records) < len(whole.records)
    cells = folder / CELLS_FILE
    cells.write_bytes(cells.read_bytes()[:-lost])  # as a kill in the middle of a write would
    resumed = read_run(run(request(tmp_path, ["max_shift"], resume=folder)).path)
    assert resumed.path == folder
    assert resumed.info.finished is not None
    assert {cell_key(r) for r in resumed.records} == {cell_key(r) for r in whole.records}
    drop = {"elapsed_s"}
    assert sorted(r.model_dump_json(exclude=drop) for r in resumed.records) == sorted(
        r.model_dump_json(exclude=drop) for r in whole.records
    )


def test_a_defect_of_the_harness_loses_its_unit_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.experiments import accuracy_cell

    original = accuracy_cell.summarise

    def fail_once(y: Any, exact: Any, **options: Any) -> Any:
        if y.shape[-1] == 2:
            raise ZeroDivisionError("planted")
        return original(y, exact, **options)

    monkeypatch.setattr(accuracy_cell, "summarise", fail_once)
    notes: list[str] = []
    found = read_run(run(request(tmp_path, ["max_shift"]), Progress(note=notes.append)).path)
    broken = [r for r in found.records if r.status == "error"]
    assert [(r.experiment, r.classes) for r in broken] == [("accuracy", 2)]
    assert "planted" in str(broken[0].reason)
    assert any("planted" in n for n in notes)


def test_nothing_available_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToRun, match="cupy_gpu: "):
        run(request(tmp_path, ["cupy_gpu"]))


def test_an_empty_selection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToRun, match="nothing to measure"):
        run(request(tmp_path, ["max_shift"], filters=Filters(operations=("log_softmax",))))


def test_workload_that_a_format_cannot_hold_is_a_row(tmp_path: Path) -> None:
    filters = Filters(
        workloads=("offset(offset=100000)",), dtypes=("float16",), experiments=("accuracy",)
    )
    found = read_run(run(request(tmp_path, ["max_shift"], filters=filters)).path)
    assert found.records
    assert {r.status for r in found.records} == {"unavailable"}
    assert all("float16" in str(r.reason) for r in found.records)


def test_filters_narrow_the_grid() -> None:
    profile = narrow(
        SMOKE,
        Filters(dtypes=("float16",), classes=(777,), experiments=("throughput",), threads=("one",)),
    )
    assert profile.dtypes == ("float16",)
    assert profile.sweep_classes == profile.family_classes == profile.map_classes == (777,)
    assert profile.experiments == ("throughput",)
    for grid in profile.timing.values():
        assert grid.classes == (777,)
        assert grid.dtypes == ("float16",)
        assert grid.threads == ("one",)


def test_a_workload_filter_replaces_the_families() -> None:
    profile = narrow(SMOKE, Filters(workloads=("constant",)))
    assert profile.sweep_workloads == ()
    assert profile.families == ("constant",)
    assert set(SMOKE.sweep_classes) <= set(profile.family_classes)


def test_precision_time_and_processes_of_timings_can_be_asked_for() -> None:
    asked = narrow(QUICK, Filters(processes=8, precision=0.01, seconds=3.0)).timing
    for grid in asked.values():
        assert (grid.processes, grid.precision, grid.seconds) == (8, 0.01, 3.0)
    for regime, grid in narrow(QUICK, Filters()).timing.items():
        assert grid == QUICK.timing[regime]


def test_regimes_can_be_chosen_on_either_kind_of_machine() -> None:
    asked = narrow(QUICK, Filters(regimes=("cached", "streaming")))
    assert set(asked.timing) == {"cached", "streaming"}
    assert set(asked.device_timing) == {"streaming"}


def test_nothing_is_started_beside_what_is_timed() -> None:
    begun: list[str] = []

    def unit(name: str, *, timed: bool = False) -> Unit:
        start = partial(begun.append, name)
        return Unit(name, "", (), lambda: iter(()), timed=timed, start=start)

    timed = unit("throughput", timed=True)
    runner._start([unit("accuracy"), unit("overflow"), timed, unit("conformance")])
    assert begun == ["accuracy", "overflow"]


def test_units_of_timings_say_so(make_context: MakeContext) -> None:
    context = make_context(["max_shift"], SMOKE)
    timed = {u.experiment for u in runner.plan(context) if u.timed}
    assert timed == {"throughput"}
