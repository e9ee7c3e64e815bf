"""Data goes one way: what was just measured is not read back from the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import session
from harness.experiments import check as check_module
from harness.experiments import runner
from harness.experiments.check import check
from harness.experiments.profiles import SMOKE, Filters
from harness.experiments.runner import Progress, Request
from harness.records import reader
from harness.worker.local import load

SMALL = replace(
    SMOKE, experiments=("accuracy",), dtypes=("float32",), sweep_classes=(3, 10), families=(),
    family_classes=(),
)  # fmt: skip


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The run folders that were read, wherever the function is called."""
    found: list[str] = []
    original = reader.read_run

    def counted(folder: Path) -> reader.Run:
        found.append(Path(folder).name)
        return original(folder)

    monkeypatch.setattr(reader, "read_run", counted)
    monkeypatch.setattr(runner, "read_run", counted)
    return found


def request(tmp_path: Path, **changes: object) -> Request:
    made = Request([load("max_shift")], SMALL, Filters(), results=tmp_path, machine="box")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_run_and_its_report_read_nothing_back(tmp_path: Path, reads: list[str]) -> None:
    run = session.measure(request(tmp_path), Progress())
    session.say_where(run, tmp_path / "reports")
    assert reads == []
    stored = reader.read_run(run.path)
    assert stored == run


def test_a_check_reads_nothing_back(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(check_module.JUDGED, experiments=("accuracy",), sweep_classes=(3,), families=())
    monkeypatch.setattr(check_module, "JUDGED", small)
    (tmp_path / "own.py").write_text(
        "def softmax(x, axis=-1): return x\nIMPLEMENTATION = {'dtypes': ('float64',)}\n"
    )
    check(str(tmp_path / "own.py"), timing=False, dtypes=("float64",), results=tmp_path)
    assert reads == []


def test_a_resumed_run_reads_what_was_there_once(tmp_path: Path, reads: list[str]) -> None:
    folders: list[Path] = []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(request(tmp_path), Progress(folder=folders.append, finished=stop))
    cells = folders[0] / "cells.jsonl"
    cells.write_bytes(cells.read_bytes().removesuffix(b"\n"))  # a kill took the newline alone
    run = runner.run(request(tmp_path, resume=folders[0]), Progress())
    assert reads == [folders[0].name]
    assert reader.read_run(run.path) == run
    assert len(run.records) == run.info.planned_cells
