"""Published passes against each other: ratios, where they tell something, and who lacks what."""

from __future__ import annotations

from typing import Any

import pytest
import report_run

from harness.records import ThroughputRecord
from harness.report.drawing.tables import Table
from harness.report.pages import passes
from harness.report.run_data import from_run
from harness.report.timing_selection import groups


def _cell(name: str, classes: int, speedup: float | None, **changes: Any) -> ThroughputRecord:
    known = {} if speedup is None else {
        "baseline": "max_shift", "speedup": speedup, "speedup_low": 0.98 * speedup,
        "speedup_high": 1.02 * speedup,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "implementation": name, "operation": "softmax", "dtype": "float32", "device": "cpu",
        "threads": 1, "workload": "normal(scale=1)", "classes": classes, "rows": 1, "seed": 0,
        "status": "ok", "regime": "latency", "allocating": False, "array_bytes": 4 * classes,
        "samples_ns": [1000.0], "median_ns": 1000.0, "best_ns": 1000.0, "ranked": True,
        "noisy": False, **known,
    }  # fmt: skip
    return ThroughputRecord(**{**fields, **changes})


def _table(*records: ThroughputRecord, regime: str = "latency") -> Table | None:
    run = from_run(report_run.run(records), "")
    return passes.compared(run, groups(run)[0], regime)


def test_ratios_to_three_passes_and_where_they_are_beyond_their_intervals() -> None:
    table = _table(
        _cell("three_pass_numba", 1000, 2.0), _cell("three_pass_numba", 4096, 2.0),
        _cell("two_pass_numba", 1000, 1.6), _cell("two_pass_numba", 4096, 2.5),
        _cell("online_numba", 1000, 2.01), _cell("online_numba", 4096, None, status="timeout",
                                                 reason="too slow", median_ns=None, best_ns=None),
    )  # fmt: skip
    assert table is not None
    shown = {str(row[0].raw): [e.raw for e in row[1:]] for row in table.rows}
    assert list(shown) == ["two_pass_numba", "online_numba"]
    assert shown["two_pass_numba"] == pytest.approx([0.8, 1.25])
    assert shown["online_numba"][0] == pytest.approx(1.005)
    assert "too slow" in (table.rows[1][2].note or "")
    said = table.notes[0]
    assert "two_pass_numba: faster at 4096 classes (1.25 times)" in said
    assert "slower at 1000 classes (0.800 times)" in said
    assert "online_numba: not told apart from three passes" in said


def test_no_table_without_three_passes_or_without_others() -> None:
    assert _table(_cell("two_pass_numba", 1000, 1.6)) is None
    assert _table(_cell("three_pass_numba", 1000, 1.6)) is None
    both = _cell("three_pass_numba", 1000, 2.0), _cell("two_pass_numba", 1000, 1.6)
    assert _table(*both, regime="streaming") is None


def test_a_time_that_failed_the_gate_is_no_measure() -> None:
    table = _table(
        _cell("three_pass_numba", 1000, 2.0, ranked=False), _cell("two_pass_numba", 1000, 1.6)
    )
    assert table is not None
    assert table.rows[0][1].raw == "not compared"
    assert "three_pass_numba" in (table.rows[0][1].note or "")
