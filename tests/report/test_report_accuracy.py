"""Figures of accuracy: what is drawn is what was recorded, and published bounds where they hold."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

import pytest
import report_run

from harness.bounds import BOUNDS
from harness.records import AccuracyRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import Plot, drawing
from harness.report.pages import accuracy, implementation
from harness.report.pages import published_bounds as published
from harness.report.run_data import RunData, from_run, known

SHIFT_DIVIDE = ("max_shift", "numba_cpu", "torch", "scipy")
WITHOUT = ("log_sum_exp", "online", "two_pass")
Changes = Mapping[tuple[str, int], Mapping[str, Any]]


def run_of(changes: Changes | None = None, names: tuple[str, ...] = report_run.NAMES) -> RunData:
    """The sweep of the synthetic run, `changes` made to cells by implementation and classes."""
    cells = [
        {**c, **(changes or {}).get((c["implementation"], c["classes"]), {})}
        for c in report_run.cells()
        if c["experiment"] == "accuracy" and c["implementation"] in names
    ]
    return from_run(report_run.run(cells), "")


def by_classes(run: RunData, dtype: str = "float32") -> Plot:
    with drawing():
        return accuracy.ulp_by_classes(
            run, dtype, "softmax", palette.styles(run.implementations), "ulp"
        )


def lines_of(plot: Plot) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """By panel, by the name of the published bound, the points of its line that are drawn."""
    assert plot.figure is not None
    return {
        axes.get_title(loc="left"): {
            line.get_label()[1:]: [
                (int(x), float(y)) for x, y in line.get_xydata() if math.isfinite(y)
            ]
            for line in axes.lines
            if line.get_label()[1:] in BOUNDS
        }
        for axes in plot.figure.axes
    }


def recorded(run: RunData, name: str, dtype: str, field: str) -> list[tuple[int, float]]:
    records = run.select(AccuracyRecord, implementation=name, dtype=dtype)
    return [
        (known(c.classes), getattr(c, field)) for c in records if c.workload == "normal(scale=10)"
    ]


def rows_of(plot: Plot) -> dict[str, dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(plot.table.to_csv().replace("\u202f", ""))))
    return {r["Implementation"]: r for r in rows}


def test_published_bounds_are_drawn_as_recorded() -> None:
    run = run_of()
    found = lines_of(by_classes(run))
    theorems = dict.fromkeys(SHIFT_DIVIDE, "published_shift_divide") | {"naive": "published_naive"}
    for name, bound in theorems.items():
        assert found[name] == {bound: recorded(run, name, "float32", "published_bound_ulp")}
    assert all(found[name] == {} for name in WITHOUT)


def test_published_bounds_have_lines_of_their_own() -> None:
    dashes = [*published.DASHES.values(), published.OWN_DASHES]
    assert len(set(dashes)) == len(dashes)
    sound = {b.name for b in BOUNDS.values() if b.published and not b.misprinted}
    assert set(published.DASHES) == sound
    plot = by_classes(run_of())
    assert plot.figure is not None
    for axes in plot.figure.axes:
        lines = [line for line in axes.lines if line.get_label()[1:] in BOUNDS]
        patterns = {str(line._unscaled_dash_pattern) for line in lines}
        own = {str(line._unscaled_dash_pattern) for line in axes.lines if line not in lines}
        assert not patterns & own


def test_the_table_and_its_csv_hold_every_bound_drawn() -> None:
    run = run_of()
    plot = by_classes(run)
    rows = rows_of(plot)
    for name in (*SHIFT_DIVIDE, "naive"):
        assert rows[name]["published bound"] in ("Theorem 4.3", "Theorem 3.3")
        for field, column in (
            ("max_ulp", "ulp"), ("bound_ulp", "bound ulp"),
            ("published_bound_ulp", "published bound ulp"),
        ):  # fmt: skip
            for n, value in recorded(run, name, "float32", field):
                assert float(rows[name][f"n = {n} {column}"]) == value
    for name in WITHOUT:
        assert rows[name]["published bound"] == rows[name]["n = 10 published bound ulp"] == ""
    entry = plot.table.rows[[r[0].text for r in plot.table.rows].index("max_shift")][2]
    assert entry.detail == "bound: 4.20\nTheorem 4.3: 90.5"


def test_words_say_which_theorem_is_whose_and_which_is_withheld() -> None:
    plot = by_classes(run_of())
    assert "Theorem 3.3 (naive)" in plot.caption
    assert "Theorem 4.3 (max_shift, numba_cpu, torch, scipy)" in plot.caption
    assert "Blanchard, Higham and Higham (2021)" in plot.caption
    assert "the algorithm of log_sum_exp, is not drawn: correct code exceeds it" in plot.caption
    assert plot.alt.endswith("Published bounds drawn: Theorem 3.3, Theorem 4.3.")
    assert plot.figure is not None
    legend = [t.get_text() for t in plot.figure.legends[0].get_texts()]
    assert "published bound, Theorem 3.3" in legend
    assert "published bound, Theorem 4.3" in legend
    assert not any("4.4" in text for text in legend)


def test_without_a_published_bound_nothing_is_said_of_any() -> None:
    plot = by_classes(run_of(names=("online", "two_pass")))
    assert plot.figure is not None
    assert not any(lines_of(plot).values())
    legend = [t.get_text() for t in plot.figure.legends[0].get_texts()]
    assert not any("ublished" in text for text in [plot.caption, plot.alt, *legend])
    assert not any(e.detail and "Theorem" in e.detail for row in plot.table.rows for e in row)


@pytest.mark.parametrize(
    "change",
    [
        {"published_bound_ulp": None},
        {"published_bound_ulp": 0.0},
        {"published_bound_ulp": math.inf},
        {"published_bound_ulp": 2.0**24},
        {"max_ulp": math.inf, "status": "failed"},
        {"published_bound": None},
        {"published_bound": "published_log_sum_exp_shifted"},
        {"published_bound": "published_nowhere"},
        {"bound": "online"},
        {"bound": "of a later version"},
    ],
    ids=str,
)
def test_where_a_published_bound_does_not_apply_its_line_ends(change: dict[str, Any]) -> None:
    run = run_of({("max_shift", 100): change})
    plot = by_classes(run)
    everywhere = recorded(run, "max_shift", "float32", "published_bound_ulp")
    drawn = [point for point in everywhere if point[0] != 100]
    assert lines_of(plot)["max_shift"] == {"published_shift_divide": drawn}
    assert rows_of(plot)["max_shift"]["n = 100 published bound ulp"] == ""


def test_first_order_ends_where_it_allows_the_whole_result() -> None:
    found = lines_of(by_classes(run_of(), "bfloat16"))
    assert found["max_shift"] == {"published_shift_divide": [(2, 82.5), (10, 90.5), (100, 180.5)]}


def test_the_pages_of_implementations_draw_them_too() -> None:
    run = run_of()
    style = palette.styles(run.implementations)
    with drawing():
        plot = implementation.accuracy(run, "scipy", style, "scipy")
        other = implementation.accuracy(run, "online", style, "online")
    for dtype in ("float64", "float32"):
        points = recorded(run, "scipy", dtype, "published_bound_ulp")
        assert lines_of(plot)[dtype] == {"published_shift_divide": points}
        tabled = [
            r for r in csv.DictReader(io.StringIO(plot.table.to_csv())) if r["dtype"] == dtype
        ]
        assert [float(r["Published bound ulp"]) for r in tabled] == [y for _, y in points]
        assert {r["Published as"] for r in tabled} == {"Theorem 4.3"}
    assert "Theorem 4.3 (scipy)" in plot.caption
    assert "Theorem 4.3" in plot.alt
    assert not any(lines_of(other).values())
    assert "ublished" not in other.caption + other.alt


@pytest.mark.parametrize("names", [report_run.NAMES, ("naive",)], ids=len)
def test_the_legend_lies_below_the_panels_and_inside_the_figure(names: tuple[str, ...]) -> None:
    plot = by_classes(run_of(names=names))
    assert plot.figure is not None
    with drawing():
        plot.figure.canvas.draw()
    legend = plot.figure.legends[0].get_window_extent()
    whole = plot.figure.bbox
    assert 0 <= legend.x0 < legend.x1 <= whole.x1
    assert legend.y0 >= 0
    assert all(legend.y1 < axes.get_tightbbox().y0 for axes in plot.figure.axes)


def test_the_alternative_text_has_no_infinite_ulp_and_judges_only_by_bounds() -> None:
    changes = {("naive", 1_000_000): {"max_ulp": math.inf, "error_over_bound": math.inf}}
    alt = by_classes(run_of(changes)).alt
    assert "to not finite (naive)" in alt
    assert "∞" not in alt
    assert "Above its bound: naive." in alt
    none = {
        (n, c): {"error_over_bound": None} for n in report_run.NAMES for c in report_run.CLASSES
    }
    assert "bound that judges" not in by_classes(run_of(none)).alt
    assert "No error lies above the bound that judges it." in by_classes(run_of()).alt


@pytest.mark.parametrize(
    ("workload", "scale"),
    [
        ("normal(scale=10)", 10.0),
        ("normal(scale=1e-2)", 0.01),
        ("normal(scale=0)", None),
        ("normal(scale=1e999)", None),
        ("normal(scale=1-2)", None),
        ("offset(offset=10000,scale=1)", None),
        ("offset(scale=1,offset=10000)", None),
        ("masked(fraction=0.25,scale=1)", None),
        ("uniform(scale=1)", None),
        (None, None),
    ],
)
def test_only_normal_logits_stand_on_the_axis_of_scales(
    workload: str | None, scale: float | None
) -> None:
    assert accuracy.scale_of(workload) == scale


def test_a_curve_over_scales_has_one_point_a_scale() -> None:
    cells = [c for c in report_run.cells() if c["experiment"] == "accuracy"]
    more = [
        {**c, "workload": "offset(offset=10000,scale=1)", "max_ulp": 5e3}
        for c in cells
        if c["workload"] == "normal(scale=1)"
    ]
    run = from_run(report_run.run([*cells, *more]), "")
    with drawing():
        plot = accuracy.ulp_by_scale(run, "softmax", palette.styles(run.implementations), "scale")
    assert plot.figure is not None
    for axes in plot.figure.axes:
        for line in axes.lines:
            scales = list(line.get_xdata())
            assert scales == sorted(set(scales))
    rows = list(csv.DictReader(io.StringIO(plot.table.to_csv())))
    assert {r["Workload"].partition("(")[0] for r in rows} == {"normal"}
    known = {r["Published as"] for r in rows if r["Implementation"] == "scipy"}
    assert known >= {"Theorem 4.3"}
