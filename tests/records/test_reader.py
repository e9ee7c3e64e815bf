"""The store: what is written is read; what a kill or a stranger leaves is survived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records import AccuracyRecord, OverflowRecord, RunInfo, ThroughputRecord
from harness.records.reader import (
    CELLS_FILE,
    RUN_FILE,
    ResultsError,
    ResultsWarning,
    RunWriter,
    cell_key,
    find_runs,
    new_run_id,
    read_results,
    read_run,
    read_runs,
)


def info(**changes: Any) -> RunInfo:
    base: dict[str, Any] = {
        "id": "20260101T000000Z-abc123",
        "created": "2026-01-01T00:00:00+00:00",
        "command": ["softmax-bench", "run"],
        "profile": "smoke",
        "seed": 0,
        "workload_version": 1,
        "harness_version": "0",
        "machine": {"slug": "box"},
        "versions": {},
        "implementations": [],
        "planned_cells": 2,
    }
    return RunInfo(**{**base, **changes})


ACCURACY = AccuracyRecord(
    implementation="a",
    dtype="float32",
    workload="normal(scale=1)",
    classes=10,
    rows=2,
    status="ok",
    max_ulp=1.5,
    ulp_histogram={"0": 20},
)
LOST = ThroughputRecord(implementation="b", status="crashed", reason="SIGSEGV", regime="cached")


def write(folder: Path, *records: Any, **changes: Any) -> Path:
    with RunWriter(folder, info(**changes)) as writer:
        for record in records:
            writer.append(record)
        writer.finish()
    return folder


def test_records_come_back_as_written(tmp_path: Path) -> None:
    run = read_run(write(tmp_path / "r", ACCURACY, LOST))
    assert run.records == [ACCURACY, LOST]
    assert run.problems == []
    assert run.info.finished is not None
    assert run.machine == "box"


def test_nonfinite_figures_are_strict_json(tmp_path: Path) -> None:
    record = ACCURACY.model_copy(update={"max_ulp": float("inf"), "bias_ulp": float("nan")})
    folder = write(tmp_path / "r", record)
    line = (folder / CELLS_FILE).read_text(encoding="utf-8")

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    data = json.loads(line, parse_constant=refuse)
    assert data["max_ulp"] == "Infinity"
    (back,) = read_run(folder).records
    assert isinstance(back, AccuracyRecord)
    assert back.max_ulp == float("inf")
    assert back.bias_ulp != back.bias_ulp


def test_a_torn_last_line_loses_that_cell_only(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", ACCURACY, LOST)
    cells = folder / CELLS_FILE
    cells.write_bytes(cells.read_bytes()[:-20])
    run = read_run(folder)
    assert run.records == [ACCURACY]
    assert len(run.problems) == 1
    assert "cells.jsonl:2" in run.problems[0]


def test_resuming_cuts_the_torn_line_and_appends(tmp_path: Path) -> None:
    folder = write(tmp_path / "r", ACCURACY, LOST)
    cells = folder / CELLS_FILE
    cells.write_bytes(cells.read_bytes()[:-20])
    with RunWriter(folder, info(), resume=[]) as writer:
        writer.append(LOST)
    assert read_run(folder).records == [ACCURACY, LOST]
    assert read_run(folder).problems == []


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        '{"experiment": "accuracy", "implementation": "a", "status": "ok", "max_ulp": NaN}',
        '{"experiment": "accuracy", "implementation": "a", "status": "fine"}',
        '{"experiment": "astrology", "implementation": "a", "status": "ok"}',
        '{"experiment": "accuracy", "implementation": "a", "status": "ok", "surprise": 1}',
        "[" * 100_000,
        '"' + "x" * (5 << 20) + '"',
        "\x00\x01",
    ],
)
def test_a_bad_line_is_reported_and_the_others_are_read(tmp_path: Path, line: str) -> None:
    folder = write(tmp_path / "r", ACCURACY)
    with open(folder / CELLS_FILE, "a", encoding="utf-8") as file:
        file.write(line + "\n" + LOST.model_dump_json() + "\n")
    run = read_run(folder)
    assert run.records == [ACCURACY, LOST]
    assert len(run.problems) == 1


def test_reading_several_runs_warns_of_what_was_lost(tmp_path: Path) -> None:
    folder = write(tmp_path / "m" / "r", ACCURACY)
    with open(folder / CELLS_FILE, "a", encoding="utf-8") as file:
        file.write("{\n")
    with pytest.warns(ResultsWarning, match="not a record"):
        read_runs([tmp_path])


def test_of_duplicate_cells_the_last_counts(tmp_path: Path) -> None:
    again = ACCURACY.model_copy(update={"max_ulp": 2.0})
    assert read_run(write(tmp_path / "r", ACCURACY, again)).records == [again]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "schema version None"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 1}', "id: Field required"),
        ('{"schema_version": NaN}', "NaN is not JSON"),
    ],
)
def test_an_unreadable_description_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / RUN_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ResultsError, match=message) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_runs_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no run; give a run's folder"):
        find_runs([tmp_path])
    with pytest.raises(ResultsError, match="no such file or folder"):
        find_runs([tmp_path / "absent"])


def test_a_finished_folder_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "r", ACCURACY)
    with pytest.raises(ResultsError, match="cannot be written"):
        RunWriter(tmp_path / "r", info())


def test_results_of_several_runs_are_one_frame(tmp_path: Path) -> None:
    write(tmp_path / "m1" / "r1", ACCURACY, LOST)
    write(tmp_path / "m2" / "r2", ACCURACY, id="20260102T000000Z-def456", machine={"slug": "b2"})
    frame = read_results(tmp_path)
    assert list(frame["machine"]) == ["box", "box", "b2"]
    assert list(frame["status"]) == ["ok", "crashed", "ok"]
    assert frame["max_ulp"].tolist()[0] == 1.5


def test_an_empty_run_gives_an_empty_frame(tmp_path: Path) -> None:
    frame = read_results(write(tmp_path / "r"))
    assert len(frame) == 0
    assert "status" in frame.columns


def test_keys_tell_cells_apart() -> None:
    threshold = OverflowRecord(
        implementation="a", kind="threshold", probe="tie", sign=1, event="zero", status="ok"
    )
    others = [
        threshold.model_copy(update=u)
        for u in ({"sign": -1}, {"event": "nonfinite"}, {"probe": "dominant"}, {"dtype": "float16"})
    ]
    assert len({cell_key(r) for r in (threshold, *others)}) == 5
    assert cell_key(threshold) == cell_key(threshold.model_dump())


def test_run_ids_differ() -> None:
    assert len({new_run_id() for _ in range(50)}) == 50
