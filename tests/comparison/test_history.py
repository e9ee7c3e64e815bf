"""Step changes: planted ones are found where they are, scatter alone gives next to none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.comparison.history import FALSE_ALARM, critical_value, find_steps, history
from harness.comparison.history_render import caveats, step_lines, to_markdown
from harness.records import AccuracyRecord, ImplementationInfo, RunInfo, ThroughputRecord
from harness.records.reader import ResultsError, RunWriter, read_runs


def implementation(digest: str) -> ImplementationInfo:
    return ImplementationInfo(
        name="a", description="", documentation="", backend="numpy", device="cpu", dtypes=[],
        operations=[], operations_with_out=[], available=True, sha256=digest,
    )  # fmt: skip


def write(
    folder: Path, times: Sequence[float], ulps: Sequence[float] = (), **changes: Sequence[Any]
) -> None:
    """One run a time; `changes` are fields of run.json, one value a run."""
    for i, time in enumerate(times):
        info = RunInfo(
            id=f"run-{i:02}",
            created=f"2026-01-01T00:{i:02}:00+00:00",
            command=[],
            profile="quick",
            seed=0,
            workload_version=1,
            harness_version="0",
            planned_cells=1,
            **{
                "machine": {"slug": "box"},
                "versions": {},
                "implementations": [],
                **{k: v[i] for k, v in changes.items()},
            },
        )
        with RunWriter(folder / info.id, info) as writer:
            for classes in (10, 20) if i % 2 else (10,):
                writer.append(
                    ThroughputRecord(
                        implementation="a", status="ok", regime="cached", dtype="float32",
                        threads=1, classes=classes, median_ns=time * classes, ranked=True,
                    )
                )  # fmt: skip
            if ulps:
                writer.append(
                    AccuracyRecord(
                        implementation="a", status="ok", dtype="float32", max_ulp=ulps[i],
                        input_sha256="00",
                    )
                )  # fmt: skip
            writer.finish()


def scattered(n: int, seed: int, spread: float = 0.01) -> np.ndarray[Any, Any]:
    return np.exp(spread * np.random.default_rng(seed).standard_normal(n))


@pytest.mark.parametrize(
    ("n", "steps"),
    [(8, {4: 1.2}), (20, {5: 1.2}), (20, {18: 1.3}), (30, {10: 1.2, 20: 0.8}), (12, {6: 0.7})],
)
def test_planted_steps_are_found_where_they_are(n: int, steps: dict[int, float]) -> None:
    values = scattered(n, 1)
    for at, factor in steps.items():
        values[at:] *= factor
    assert find_steps(values.tolist()) == sorted(steps)


@pytest.mark.parametrize("n", [5, 8, 20])
@pytest.mark.parametrize("spread", [0.01, 0.1])
def test_scatter_alone_gives_next_to_no_steps(n: int, spread: float) -> None:
    found = [bool(find_steps(scattered(n, seed, spread).tolist())) for seed in range(200)]
    assert sum(found) <= 200 * FALSE_ALARM + 5


@pytest.mark.parametrize(
    "values",
    [
        [1.0] * 10,
        [1.0, 1.0, 1.0, 1.0, 1.4, 1.0, 1.0, 1.0, 1.0],  # one run is no lasting change
        [1.0] * 9 + [1.4],
        [1.0] * 5 + [1.04] * 5,  # below the practical threshold
        [1.0, 1.0, 2.0, 2.0],  # too few to tell
        [],
    ],
)
def test_what_is_no_lasting_change_is_no_step(values: list[float]) -> None:
    assert find_steps(values) == []


def test_a_step_without_scatter_is_a_step() -> None:
    assert find_steps([1.0] * 5 + [1.2] * 5) == [5]


def test_the_critical_value_is_that_of_the_null() -> None:
    """Short series have an uncertain scale, and so a larger critical value."""
    assert critical_value(6) > critical_value(20) > critical_value(50) > 3.0


def test_a_step_names_what_changed(tmp_path: Path) -> None:
    times = scattered(10, 3) * np.where(np.arange(10) < 5, 1.0, 1.25)
    write(
        tmp_path,
        times.tolist(),
        versions=[{"numpy": "2.0" if i < 5 else "2.1"} for i in range(10)],
        implementations=[[implementation("x" if i < 5 else "y")] for i in range(10)],
    )
    (line,) = step_lines(history(read_runs([tmp_path])))
    assert line.startswith("run-05: a, time, cached float32, 1 threads: ")
    assert "(+2" in line
    assert line.endswith("its source changed, numpy 2.0 -> 2.1")


def test_every_change_of_an_error_is_a_step(tmp_path: Path) -> None:
    write(tmp_path, [1.0, 1.0, 1.0], [1.5, 1.5, 1.75])
    found = history(read_runs([tmp_path]))
    (series,) = [s for s in found.series if s.unit == "ulp"]
    assert [(s.index, s.before, s.after) for s in series.steps] == [(2, 1.5, 1.75)]
    assert "nothing that the runs record changed" in step_lines(found)[0]


def test_series_hold_only_cells_that_all_runs_share(tmp_path: Path) -> None:
    """Every other run has a slower cell more; the geometric mean must not swing with it."""
    write(tmp_path, [1.0] * 6)
    (series,) = history(read_runs([tmp_path])).series
    assert series.values == pytest.approx([10.0] * 6)


def test_few_runs_are_shown_and_not_searched(tmp_path: Path) -> None:
    write(tmp_path, [1.0, 2.0])
    found = history(read_runs([tmp_path]))
    assert "steps of times need" in found.series[0].note
    assert "no steps were looked for" in caveats(found)[0]
    assert "No step changes." in to_markdown(found)


def test_several_machines_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [1.0, 1.0], machine=[{"slug": "x"}, {"slug": "y"}])
    with pytest.raises(ResultsError, match=r"got 2 \(x, y\)"):
        history(read_runs([tmp_path]))
