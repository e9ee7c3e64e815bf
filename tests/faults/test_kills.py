"""Kill -9 of the coordinator again and again, the short loop; ``tox -e kills`` is the long one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kill_loop import differences, kill_loop
from readers import INFO, RECORDS
from soak import Sample, verdict

from harness.records.reader import RunWriter, read_run

KILLS = 10


def test_ten_kills_leave_the_run_that_would_have_been(tmp_path: Path) -> None:
    found = kill_loop(KILLS, tmp_path, seed=7, scale=9)
    assert found.kills >= KILLS // 2  # the run may be finished before the last
    assert found.differences == []
    assert found.left == []


@pytest.mark.parametrize("change", [{"max_ulp": 2.0}, {"status": "failed"}, {"reason": "other"}])
def test_the_loop_sees_a_run_that_differs(tmp_path: Path, change: dict[str, object]) -> None:
    for name, record in (("a", RECORDS[0]), ("b", RECORDS[0].model_copy(update=change))):
        with RunWriter(tmp_path / name, INFO) as writer:
            writer.append(record)
    runs = [read_run(tmp_path / n) for n in "ab"]
    assert differences(runs[0], runs[0]) == []
    assert len(differences(*runs)) == 1


def test_the_loop_sees_a_cell_that_was_lost(tmp_path: Path) -> None:
    for name, records in (("a", RECORDS), ("b", RECORDS[1:])):
        with RunWriter(tmp_path / name, INFO) as writer:
            for record in records:
                writer.append(record)
    (line,) = differences(read_run(tmp_path / "a"), read_run(tmp_path / "b"))
    assert "only in one of them" in line


@pytest.mark.parametrize(
    ("field", "step", "found"),
    [
        ("resident_mib", 0.0, ""),
        ("resident_mib", 0.1, "memory grows"),
        ("descriptors", 0.1, "descriptors went"),
        ("threads", 0.1, "threads went"),
        ("children", 0.1, "children went"),
    ],
)
def test_the_soak_sees_what_grows(field: str, step: float, found: str) -> None:
    flat = [Sample(10.0 * i, 200.0, 6, 2, 0) for i in range(60)]
    grown = [replace(s, **{field: getattr(s, field) + step * i}) for i, s in enumerate(flat)]
    assert " ".join(verdict(grown)).startswith(found)
    assert bool(verdict(grown)) == bool(found)
