"""Where results stop being right: the picture of all, and the tables of outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import report_run

from harness.records import OverflowRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import Plot, drawing
from harness.report.pages import overflow
from harness.report.run_data import RunData, from_run

END = 1e6
SPLIT = math.sqrt(100.0 * 1000.0)
"""The middle between the last offset that `log_sum_exp` survives and the next."""


def run_of(cells: Sequence[Mapping[str, Any]] | None = None, **changes: Any) -> RunData:
    found = report_run.overflow_cells() if cells is None else cells
    return from_run(report_run.run(found, **changes), "")


def lifelines(run: RunData) -> Plot:
    with drawing():
        plot = overflow.lifelines(run, "softmax", "lifelines")
    assert plot is not None
    return plot


Stretches = list[tuple[str, float, float]]


def stretches(plot: Plot, name: str, dtype: str, grows: str) -> Stretches:
    """What becomes of an implementation as the table has it: result, from, to."""
    return [
        (result.text, start.raw, end.raw)
        for who, fmt, what, result, start, end in plot.table.rows
        if (who.text, fmt.text, what.text) == (name, dtype, grows)
    ]


def bars(plot: Plot, dtype: str, grows: str) -> list[tuple[float, float]]:
    """Ends of the bars of a panel."""
    assert plot.figure is not None
    title = f"{dtype}: {grows}"
    (axes,) = (a for a in plot.figure.axes if a.get_title(loc="left") == title)
    return [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]


@pytest.mark.parametrize("dtype", report_run.DTYPES)
def test_a_life_ends_at_the_threshold_that_was_found(dtype: str) -> None:
    plot = lifelines(run_of())
    last = report_run.THRESHOLDS.get(dtype, 88.5)
    assert stretches(plot, "naive", dtype, overflow.LOGIT) == [
        ("right", 1.0, last), ("fails", last, END),
    ]  # fmt: skip
    for name in report_run.NAMES[1:]:
        assert stretches(plot, name, dtype, overflow.LOGIT) == [("right", 1.0, END)]


@pytest.mark.parametrize("dtype", report_run.DTYPES)
def test_digits_are_lost_from_between_the_offsets_that_tell(dtype: str) -> None:
    plot = lifelines(run_of())
    assert stretches(plot, "log_sum_exp", dtype, overflow.OFFSET) == [
        ("right", 1.0, SPLIT), ("digits lost", SPLIT, END),
    ]  # fmt: skip
    assert stretches(plot, "max_shift", dtype, overflow.OFFSET) == [("right", 1.0, END)]
    *_, (result, start, end) = stretches(plot, "naive", dtype, overflow.OFFSET)
    assert (result, end) == ("fails", END)
    assert start <= 100.0


@pytest.mark.parametrize("grows", [overflow.LOGIT, overflow.OFFSET])
def test_every_stretch_of_the_table_is_a_bar(grows: str) -> None:
    plot = lifelines(run_of())
    told = [s for n in report_run.NAMES for s in stretches(plot, n, "float32", grows)]
    assert len(told) > len(report_run.NAMES)
    drawn = bars(plot, "float32", grows)
    assert sorted(drawn) == [pytest.approx((a, b)) for a, b in sorted((a, b) for _, a, b in told)]


def threshold(name: str, event: str, last: float | None) -> dict[str, Any]:
    return {
        "experiment": "overflow", "implementation": name, "dtype": "float64", "status": "ok",
        "kind": "threshold", "probe": "dominant", "sign": 1, "event": event, "classes": 2,
        "rows": 1, "occurs": last is not None, "last_good": last,
        "last_good_hex": None if last is None else last.hex(),
    }  # fmt: skip


def at_offset(name: str, offset: float, outcome: str, ulp: float | None, n: int = 2) -> Any:
    return {
        "experiment": "overflow", "implementation": name, "dtype": "float64", "status": "ok",
        "kind": "map", "offset": offset, "classes": n, "rows": 8, "workload": "normal(scale=1)",
        "outcome": outcome, "max_ulp": ulp,
    }  # fmt: skip


def test_digits_are_lost_before_everything_is() -> None:
    cells = [threshold("torch", "inaccurate", 40.0), threshold("torch", "nonfinite", 700.0)]
    assert stretches(lifelines(run_of(cells)), "torch", "float64", overflow.LOGIT) == [
        ("right", 1.0, 40.0), ("digits lost", 40.0, 700.0), ("fails", 700.0, END),
    ]  # fmt: skip


def test_a_threshold_beyond_the_picture_is_none_in_it() -> None:
    cells = [threshold("torch", "inaccurate", 1e9), threshold("torch", "nonfinite", None)]
    found = stretches(lifelines(run_of(cells)), "torch", "float64", overflow.LOGIT)
    assert found == [("right", 1.0, END)]


@pytest.mark.parametrize(
    ("outcome", "ulp", "result"),
    [
        ("exact", 0.5, "right"), ("accurate", 99.0, "right"), ("limit", None, "right"),
        ("accurate", 100.0, "digits lost"), ("inaccurate", 20.0, "digits lost"),
        ("wrong", 1e9, "digits lost"), ("zero", None, "fails"), ("inf", None, "fails"),
        ("nan", None, "fails"), ("crashed", None, "fails"),
    ],
)  # fmt: skip
def test_the_worst_class_count_of_an_offset_decides(
    outcome: str, ulp: float | None, result: str
) -> None:
    cells = [at_offset("torch", 1.0, "exact", 0.5), at_offset("torch", 1e4, "exact", 0.5),
             at_offset("torch", 1e4, outcome, ulp, 1000)]  # fmt: skip
    found = stretches(lifelines(run_of(cells)), "torch", "float64", overflow.OFFSET)
    assert found[-1][0] == result
    assert [a for _, a, _ in found] == ([1.0] if result == "right" else [1.0, 100.0])


def rows_from_the_top(plot: Plot) -> list[str]:
    """The names at the left of the picture."""
    assert plot.figure is not None
    texts = plot.figure.axes[0].texts
    return [t.get_text() for t in sorted(texts, key=lambda t: -t.xy[1])]


def test_whoever_dies_first_stands_on_top() -> None:
    assert rows_from_the_top(lifelines(run_of()))[:2] == ["naive", "log_sum_exp"]


def test_what_is_never_right_stands_above_what_is_right_for_a_while() -> None:
    names = ("log_sum_exp", "two_pass", "max_shift")
    cells = [c for c in report_run.overflow_cells() if c["implementation"] in names]
    for c in cells:
        if c["implementation"] == "two_pass" and c["kind"] == "map":
            c.update(outcome="nan", max_ulp=None)
    assert rows_from_the_top(lifelines(run_of(cells))) == ["two_pass", "log_sum_exp", "max_shift"]


def test_words_say_who_dies_and_where() -> None:
    alt = lifelines(run_of()).alt
    assert "naive in float32 beyond t = 88.7" in alt
    assert "naive in float64 beyond t = 710" in alt
    assert "max_shift" not in alt


def test_words_say_who_loses_digits_as_an_offset_is_added() -> None:
    names = ("log_sum_exp", "max_shift")
    cells = [c for c in report_run.overflow_cells() if c["implementation"] in names]
    alt = lifelines(run_of(cells)).alt
    assert "log_sum_exp" in alt
    assert "All stay right" not in alt
    others = [c for c in cells if c["implementation"] == "max_shift"]
    assert "All stay right" in lifelines(run_of(others)).alt


def test_without_an_outcome_there_is_no_picture() -> None:
    cells = [{**c, "status": "timeout", "reason": "60 s", "outcome": None, "occurs": None,
              "max_ulp": None} for c in report_run.overflow_cells()[:40]]  # fmt: skip
    with drawing():
        assert overflow.lifelines(run_of(cells), "softmax", "lifelines") is None
        assert overflow.lifelines(run_of([]), "softmax", "lifelines") is None


def record(outcome: str | None, ulp: float | None = None, **changes: Any) -> OverflowRecord:
    return OverflowRecord.model_validate({
        "implementation": "torch", "dtype": "float32", "status": "ok", "outcome": outcome,
        "max_ulp": ulp, **changes,
    })  # fmt: skip


def test_the_worst_is_by_outcome_then_by_error() -> None:
    rising = [
        record(None, 1e9), record("exact", 0.5), record("accurate", 1.0), record("accurate", 3.0),
        record("limit"), record("accurate", 11.0), record("accurate", 2.0**23),
        record("inaccurate", 30.0), record("inaccurate", 40.0), record("wrong"), record("zero"),
        record("inf"), record("nan"), record("raises"), record(None, status="crashed"),
    ]  # fmt: skip
    for k in range(1, len(rising) + 1):
        assert overflow.worst_of(rising[:k]) is rising[k - 1]
        assert overflow.worst_of(reversed(rising[:k])) is rising[k - 1]
    assert overflow.worst_of([]) is None


def test_a_table_has_the_worst_of_each_offset_in_the_colour_of_its_outcome() -> None:
    table = overflow.by_offset(run_of(), "float32", "softmax")
    assert table is not None
    assert [c.header for c in table.columns] == ["Offset", *report_run.NAMES]
    at = {row[0].raw: dict(zip(report_run.NAMES, row[1:], strict=True)) for row in table.rows}
    assert list(at) == [-1e5, -1e3, -100.0, 0.0, 100.0, 1e3, 1e4, 1e5]
    assert [at[-1e5]["max_shift"].raw, at[1e4]["log_sum_exp"].raw] == [1.5, 200.0]
    assert (at[1e4]["naive"].text, at[1e4]["naive"].outcome) == ("NaN", "nan")
    assert at[1e4]["log_sum_exp"].outcome == "inaccurate"
    (note,) = table.notes
    for outcome in ("accurate", "inaccurate", "nan"):
        assert f"{outcome}: {palette.OUTCOMES[outcome].meaning}" in note
    assert "exact: " not in note  # it does not occur
    sheet = palette.outcome_sheet()
    ground = {name: f"td.o-{name}{{" for name in palette.OUTCOMES}
    ground["accurate"] = ".outcomes td:not([class]){"  # most are: they need no class
    assert all(ground[e.outcome] in sheet for row in at.values() for e in row.values())
    assert table.of_outcomes


def test_who_was_not_tried_is_named_below_the_table_and_who_could_not_run_is_not() -> None:
    cells = [c for c in report_run.overflow_cells() if c["implementation"] != "scipy"]
    table = overflow.by_offset(run_of(cells), "float32", "softmax")
    assert table is not None
    assert not {"scipy", "cupy_gpu"} & {c.header for c in table.columns}
    assert "scipy" in table.notes[0]
    assert "not in the plan" in table.notes[0]
    assert "cupy_gpu" not in table.notes[0]
    assert overflow.by_offset(run_of([]), "float32", "softmax") is None


def test_an_offset_that_was_not_measured_is_a_gap_with_the_reason() -> None:
    gap = {"status": "timeout", "reason": "60 s", "outcome": None, "max_ulp": None}
    cells = [{**c, **(gap if (c["implementation"], c.get("offset")) == ("torch", 0.0) else {})}
             for c in report_run.overflow_cells()]  # fmt: skip
    run = run_of(cells)
    for table in (overflow.by_offset(run, "float32", "softmax"),
                  overflow.by_classes(run, "torch", "float32")):  # fmt: skip
        assert table is not None
        (row,) = [row for row in table.rows if row[0].raw == 0.0]
        gaps = [e for e in row[1:] if e.kind == "missing"]
        assert gaps
        assert {(e.text, e.note) for e in gaps} == {("timeout", "timeout: 60 s")}


def test_the_page_of_an_implementation_has_every_class_count() -> None:
    run = run_of()
    table = overflow.by_classes(run, "log_sum_exp", "float32")
    assert table is not None
    assert [c.header.replace("\u202f", "") for c in table.columns[1:]] == [
        "n = 2", "n = 10", "n = 1000", "n = 50257",
    ]  # fmt: skip
    at = {row[0].raw: row[1:] for row in table.rows}
    assert [e.raw for e in at[1e5]] == [2000.0] * 4
    assert {e.outcome for e in at[0.0]} == {"accurate"}
    assert overflow.by_classes(run, "cupy_gpu", "float32") is None


def test_a_format_that_we_do_not_know_has_its_panels_too() -> None:
    cells = [c for c in report_run.overflow_cells() if c["dtype"] == "float32"]
    foreign = [{**c, "dtype": "posit16"} for c in cells]
    for given in (foreign, [*foreign, *cells]):
        plot = lifelines(run_of(given))
        assert len(bars(plot, "posit16", overflow.LOGIT)) == len(report_run.NAMES) + 1
        assert stretches(plot, "scipy", "posit16", overflow.OFFSET) == [("right", 1.0, END)]
