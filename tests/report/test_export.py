"""pytest-benchmark's JSON: its statistics, and that the tool itself reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.stats import Stats

from harness.records import AccuracyRecord, Record, RunInfo, ThroughputRecord
from harness.records.reader import RunWriter
from harness.report.pytest_benchmark import export_pytest_benchmark, stats


def timed(**changes: Any) -> ThroughputRecord:
    fields: dict[str, Any] = {
        "implementation": "a", "status": "ok", "regime": "cached", "dtype": "float32",
        "threads": 1, "classes": 10, "rows": 4, "samples_ns": [1e6, 2e6, 4e6],
        "calls_per_sample": 7, "ranked": True, "gate_ulp": float("inf"),
    }  # fmt: skip
    return ThroughputRecord(**{**fields, **changes})


def write(folder: Path, *records: Record, **changes: Any) -> Path:
    fields: dict[str, Any] = {
        "id": "run-01", "created": "2026-01-01T00:00:00+00:00", "command": [], "profile": "quick",
        "seed": 0, "workload_version": 1, "harness_version": "0", "machine": {"slug": "box"},
        "versions": {}, "implementations": [], "planned_cells": 1,
    }  # fmt: skip
    info = RunInfo(**{**fields, **changes})
    with RunWriter(folder / info.id, info) as writer:
        for record in records:
            writer.append(record)
    return folder / info.id


@pytest.mark.parametrize("count", [4, 5, 11, 40])
def test_statistics_are_those_of_the_tool(count: int) -> None:
    data = np.random.default_rng(count).lognormal(-7, 0.5, count).tolist()
    theirs = Stats()
    for value in data:
        theirs.update(value)
    ours = stats(data, 1)
    for name in ("min", "max", "mean", "stddev", "rounds", "median", "ops", "total"):
        assert ours[name] == pytest.approx(getattr(theirs, name)), name


def test_one_sample_has_no_spread() -> None:
    one = stats([0.5], 1)
    assert (one["stddev"], one["iqr"], one["outliers"]) == (0.0, 0.0, "0;0")
    with pytest.raises(ValueError, match="at least one sample"):
        stats([], 1)


def test_times_are_in_seconds_and_what_is_struck_out_is_named(tmp_path: Path) -> None:
    run = write(
        tmp_path,
        timed(),
        timed(implementation="b", ranked=False),
        timed(implementation="c", status="crashed", reason="SIGSEGV"),
        timed(implementation="a (control)", role="control"),
        AccuracyRecord(implementation="a", status="ok"),
    )
    (path,) = export_pytest_benchmark([run], tmp_path / "out")

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    (one,) = data["benchmarks"]
    assert one["stats"]["median"] == pytest.approx(2e-3)
    assert one["stats"]["iterations"] == 7
    assert [o["reason"] for o in data["softmax_bench"]["omitted"]] == [
        "struck out by the accuracy gate", "crashed: SIGSEGV",
    ]  # fmt: skip


def test_the_tool_compares_two_exported_runs(tmp_path: Path) -> None:
    write(tmp_path / "runs", timed())
    later = {"id": "run-02", "created": "2026-01-02T00:00:00+00:00"}
    write(tmp_path / "runs", timed(samples_ns=[3e6, 3e6]), **later)
    paths = export_pytest_benchmark([tmp_path / "runs"], tmp_path / "out")
    assert [p.name for p in paths] == ["0001_run-01.json", "0002_run-02.json"]
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest_benchmark", "--storage", str(tmp_path / "out"),
            "compare", "--columns=median,rounds", "--sort=name",
        ],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("softmax[a-cached")]
    assert len(rows) == 2
    assert "(1.50)" in done.stdout


def test_a_machine_cannot_name_a_place_outside(tmp_path: Path) -> None:
    run = write(tmp_path, timed(), machine={"slug": "../../x"})
    (path,) = export_pytest_benchmark([run], tmp_path / "out")
    assert path.resolve().is_relative_to(tmp_path / "out")
