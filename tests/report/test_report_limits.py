"""How far from the limit: the limit that holds, shares paired by round, and gaps with reasons."""

from __future__ import annotations

from typing import Any

import pytest
import report_run

from harness.records import ThroughputRecord
from harness.report.drawing.figure import Plot, drawing
from harness.report.drawing.style import styles
from harness.report.pages import limits
from harness.report.run_data import RunData, from_run
from harness.report.timing_selection import groups

ROUNDS = 5


def _cell(name: str, ns: float, **changes: Any) -> ThroughputRecord:
    fields: dict[str, Any] = {
        "implementation": name, "operation": "softmax", "dtype": "float32", "device": "cpu",
        "threads": 4, "workload": "normal(scale=1)", "classes": 1000, "rows": 64, "seed": 0,
        "status": "ok", "regime": "cached", "allocating": False, "array_bytes": 256_000,
        "samples_ns": [ns * f for f in (1.0, 1.1, 0.9, 1.2, 1.0)], "median_ns": ns,
        "gbps": 512_000 / ns, "ranked": True, "noisy": False,
    }  # fmt: skip
    return ThroughputRecord(**{**fields, **changes})


def _limit(name: str, ns: float, **changes: Any) -> ThroughputRecord:
    operation = "exp" if name == limits.EXPONENTIAL else "copy"
    return _cell(name, ns, role="limit", operation=operation, ranked=None, **changes)


def _run(*records: ThroughputRecord) -> RunData:
    return from_run(report_run.run(records), "")


def _panel(run: RunData, regime: str = "cached") -> limits.Panel:
    return limits.Panel(run, groups(run)[0], regime)


COPIES = (_limit("copy_nontemporal", 8_000.0), _limit("copy_regular", 4_000.0))


def test_a_share_is_the_quotient_of_ratios_to_one_baseline() -> None:
    to_it = {"baseline": "a", "speedup_low": 1.9, "speedup_high": 2.1}
    one = _cell("torch", 10_000.0, speedup=2.0, **to_it)
    copy = _limit("copy_regular", 3_000.0, speedup=5.0, baseline="a", speedup_low=5.0,
                  speedup_high=5.0)  # fmt: skip
    found = limits.share(one, copy)
    assert found is not None
    assert found == pytest.approx((40.0, 40.0 * (1.9 / 2.1) ** 0.5, 40.0 * (2.1 / 1.9) ** 0.5))
    other = copy.model_copy(update={"baseline": "b"})
    assert limits.share(one, other) == limits.Share(pytest.approx(30.0))  # of another group


def test_without_paired_rounds_there_is_no_interval() -> None:
    found = limits.share(_cell("torch", 10_000.0, samples_ns=None), COPIES[1])
    assert found == limits.Share(pytest.approx(40.0))


def test_without_a_time_or_a_limit_there_is_no_share() -> None:
    timed, untimed = _cell("torch", 1.0), _cell("torch", 1.0, median_ns=None)
    assert limits.share(timed, None) is None
    assert limits.share(untimed, None) is None
    assert limits.share(untimed, COPIES[0]) is None
    assert limits.share(timed, _limit("copy_regular", 1.0, median_ns=None)) is None


@pytest.mark.parametrize(("exp_ns", "binding"), [(6_000.0, "exp_only"), (3_000.0, "copy_regular")])
def test_in_cache_the_slower_of_best_copy_and_exponentials_holds(
    exp_ns: float, binding: str
) -> None:
    run = _run(_cell("torch", 10_000.0), *COPIES, _limit("exp_only", exp_ns))
    found = _panel(run).binding(1000)
    assert found is not None
    assert found.implementation == binding


def test_exponentials_alone_are_no_limit_without_a_copy() -> None:
    run = _run(_cell("torch", 10_000.0), _limit("exp_only", 6_000.0))
    assert _panel(run).binding(1000) is None
    assert limits.panels(run, groups(run)[0]) == []


def test_limits_of_other_threads_formats_and_cold_caches_are_not_taken() -> None:
    others = [_limit("copy_regular", 1.0, threads=1), _limit("copy_regular", 1.0, dtype="float64"),
              _limit("copy_regular", 1.0, cache="cold")]  # fmt: skip
    run = _run(_cell("torch", 10_000.0), *others)
    assert limits.limited(run) == []


def test_the_table_names_the_limit_and_gives_each_share() -> None:
    run = _run(_cell("torch", 10_000.0), *COPIES, _limit("exp_only", 6_000.0))
    group = groups(run)[0]
    (row,) = limits.shares(run, group, limits.panels(run, group), "t").rows
    assert [e.raw for e in row[4:]] == [
        pytest.approx(60.0), "one exp an element", pytest.approx(80.0),
        pytest.approx(40.0), pytest.approx(60.0),
    ]  # fmt: skip


def test_what_failed_the_gate_is_struck_out_and_never_the_nearest() -> None:
    wrong = _cell("numba_cpu", 4_100.0, ranked=False, status="failed", gate_ulp=1e6)
    run = _run(wrong, _cell("torch", 10_000.0), *COPIES)
    table = limits.summary(run, groups(run)[0], _panel(run))
    kinds = {row[0].text: row[1].kind for row in table.rows}
    assert kinds["numba_cpu"] == "struck"
    assert kinds["torch"] == "best"
    with drawing():
        plot = limits.by_classes(run, groups(run)[0], styles(run.implementations), "p")
    assert "nearest is torch with 40" in plot.alt


def test_who_was_not_timed_is_a_row_with_the_reason() -> None:
    run = _run(_cell("torch", 10_000.0), *COPIES)
    table = limits.summary(run, groups(run)[0], _panel(run))
    (row,) = [r for r in table.rows if r[0].text == "cupy_gpu"]
    assert row[1].kind == "missing"
    assert "no CUDA device was found" in str(row[1].note)


def test_a_rejected_timing_is_a_gap_that_says_so() -> None:
    run = _run(_cell("torch", 10_000.0), _cell("scipy", 1.0, implausible=True), *COPIES)
    table = limits.summary(run, groups(run)[0], _panel(run))
    (row,) = [r for r in table.rows if r[0].text == "scipy"]
    assert row[1].text == "implausible"
    assert "rejected" in str(row[1].note)


def _shares(*classes: int) -> Plot:
    """Four times the speed of the limit at each class count."""
    cells = (_cell("torch", 1_000.0), *COPIES)
    run = _run(*(c.model_copy(update={"classes": n}) for n in classes for c in cells))
    with drawing():
        return limits.by_classes(run, groups(run)[0], styles(run.implementations), "p")


def test_a_share_beyond_the_scale_is_drawn_at_its_edge_and_given_in_the_table() -> None:
    plot = _shares(10, 1000)
    assert plot.figure is not None
    assert [row[4].raw for row in plot.table.rows] == [pytest.approx(400.0)] * 2
    (axes,) = plot.figure.axes
    assert axes.get_ylim() == (0.0, 150.0)
    above = [line for line in axes.lines if line.get_marker() == "^"]
    assert [list(line.get_ydata()) for line in above] == [[150.0, 150.0]]


def test_with_one_class_count_a_share_is_a_bar_of_its_whole_length() -> None:
    plot = _shares(1000)
    assert plot.figure is not None
    (axes,) = plot.figure.axes
    (bar,) = axes.patches
    assert bar.get_width() == pytest.approx(400.0)
    assert axes.get_xlim()[1] > 400.0


def test_a_run_without_limits_has_no_such_page() -> None:
    from harness.report.site import pages_of

    assert "limits" not in dict(pages_of(_run(_cell("torch", 10_000.0))))
    assert "limits" in dict(pages_of(_run(_cell("torch", 10_000.0), *COPIES)))
