"""Figures of accuracy: what is drawn is what was recorded, and published bounds where they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import report_run
from report_pages import csv_rows

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


def by_classes(run: RunData) -> Plot:
    """All implementations, a panel a format."""
    with drawing():
        return accuracy.ulp_by_classes(run, "softmax", palette.styles(run.implementations), "ulp")


def page_of(run: RunData, name: str) -> Plot:
    """The figure of an implementation's page: a panel a format, with its bounds."""
    with drawing():
        return implementation.accuracy(run, name, palette.styles(run.implementations), "own")


def lines_of(plot: Plot, dtype: str = "float32") -> dict[str, list[tuple[int, float]]]:
    """By the name of the published bound, the points of its line in a panel that are drawn."""
    assert plot.figure is not None
    (axes,) = (axes for axes in plot.figure.axes if axes.get_title(loc="left") == dtype)
    return {
        line.get_label()[1:]: [(int(x), float(y)) for x, y in line.get_xydata() if math.isfinite(y)]
        for line in axes.lines
        if line.get_label()[1:] in BOUNDS
    }


def recorded(run: RunData, name: str, dtype: str, field: str) -> list[tuple[int, float]]:
    records = run.select(AccuracyRecord, implementation=name, dtype=dtype)
    return [
        (known(c.classes), getattr(c, field)) for c in records if c.workload == "normal(scale=10)"
    ]


def rows_of(plot: Plot, dtype: str = "float32") -> list[dict[str, str]]:
    """The rows of a format, as the CSV has them."""
    return [r for r in csv_rows(plot.table.to_csv()) if r["dtype"] == dtype]


BOUND_OF = dict.fromkeys(SHIFT_DIVIDE, "published_shift_divide") | {"naive": "published_naive"}


@pytest.mark.parametrize("name", report_run.NAMES)
def test_published_bounds_are_drawn_as_recorded(name: str) -> None:
    run = run_of()
    plot = page_of(run, name)
    for dtype in ("float64", "float32"):
        expected = {
            bound: recorded(run, name, dtype, "published_bound_ulp")
            for bound in [BOUND_OF.get(name)]
            if bound
        }
        assert lines_of(plot, dtype) == expected
        tabled = [r["Published bound ulp"] for r in rows_of(plot, dtype)]
        assert tabled == [str(y) for points in expected.values() for _, y in points] or (
            name in WITHOUT and not any(tabled)
        )


@pytest.mark.parametrize("name", ["naive", "scipy", "online"])
def test_the_page_of_an_implementation_draws_its_errors_and_the_bound_that_judges(
    name: str,
) -> None:
    run = run_of()
    plot = page_of(run, name)
    assert plot.figure is not None
    for axes in plot.figure.axes:
        dtype = axes.get_title(loc="left")
        lines = [[(x, y) for x, y in line.get_xydata()] for line in axes.lines]
        assert recorded(run, name, dtype, "max_ulp") in lines
        assert recorded(run, name, dtype, "bound_ulp") in lines
        for field, column in (("max_ulp", "Largest error ulp"), ("bound_ulp", "Bound ulp")):
            told = [float(r[column]) for r in rows_of(plot, dtype)]
            assert told == [y for _, y in recorded(run, name, dtype, field)]


def test_the_figure_of_all_has_a_panel_a_format_every_error_and_no_bound() -> None:
    run = run_of()
    plot = by_classes(run)
    assert plot.figure is not None
    assert [axes.get_title(loc="left") for axes in plot.figure.axes] == list(report_run.DTYPES)
    tabled = {(r["Implementation"], r["Format"]): r for r in csv_rows(plot.table.to_csv())}
    for axes in plot.figure.axes:
        dtype = axes.get_title(loc="left")
        drawn = [[(x, y) for x, y in line.get_xydata()] for line in axes.lines]
        expected = [recorded(run, n, dtype, "max_ulp") for n in report_run.NAMES]
        assert sorted(drawn) == sorted(expected)
        for name, points in zip(report_run.NAMES, expected, strict=True):
            row = tabled[name, dtype]
            told = [float(v) for column, v in row.items() if column.startswith("n = ")]
            assert told == [y for _, y in points]
        assert {t.get_text() for t in axes.texts} == set(report_run.NAMES)
    assert "published" not in plot.caption


def test_a_result_that_failed_is_ringed_and_its_implementation_in_colour() -> None:
    changes = {("online", 1000): {"max_ulp": 1e5, "status": "failed", "reason": "beyond"}}
    plot = by_classes(run_of(changes))
    assert plot.figure is not None
    rings = [
        line for axes in plot.figure.axes for line in axes.lines
        if line.get_markeredgecolor() == palette.ALERT
    ]  # fmt: skip
    assert [list(map(tuple, ring.get_xydata())) for ring in rings] == [[(1000, 1e5)]] * 4
    assert {one.on for one in plot.figure.series.values() if one.name == "online"} == {True}
    few = by_classes(run_of()).figure
    assert few is not None
    assert {one.on for one in few.series.values() if one.name == "online"} == {False}
    (row, *_) = [r for r in csv_rows(plot.table.to_csv()) if r["Implementation"] == "online"]
    assert "failed: beyond" in row["notes"]


def test_published_bounds_have_lines_of_their_own() -> None:
    dashes = [*published.DASHES.values(), published.OWN_DASHES]
    assert len(set(dashes)) == len(dashes)
    sound = {b.name for b in BOUNDS.values() if b.published and not b.misprinted}
    assert set(published.DASHES) == sound
    plot = page_of(run_of(), "naive")
    assert plot.figure is not None
    for axes in plot.figure.axes:
        lines = [line for line in axes.lines if line.get_label()[1:] in BOUNDS]
        patterns = {str(line._unscaled_dash_pattern) for line in lines}
        own = {str(line._unscaled_dash_pattern) for line in axes.lines if line not in lines}
        assert len(patterns) == 1
        assert not patterns & own


@pytest.mark.parametrize(
    ("name", "theorem"), [("naive", "Theorem 3.3"), *((n, "Theorem 4.3") for n in SHIFT_DIVIDE)]
)
def test_words_say_which_theorem_is_drawn(name: str, theorem: str) -> None:
    plot = page_of(run_of(), name)
    assert f"{theorem} ({name})" in plot.caption
    assert "Blanchard, Higham and Higham (2021)" in plot.caption
    assert plot.alt.endswith(f"Published bounds drawn: {theorem}.")
    assert plot.figure is not None
    legend = [t.get_text() for t in plot.figure.legends[0].get_texts()]
    assert [text for text in legend if "published" in text] == [f"published bound, {theorem}"]
    assert {r["Published as"] for r in rows_of(plot)} == {theorem}


def test_words_say_which_theorem_is_withheld() -> None:
    plot = page_of(run_of(), "log_sum_exp")
    assert "the algorithm of log_sum_exp, is not drawn: correct code exceeds it" in plot.caption
    assert plot.figure is not None
    legend = [t.get_text() for t in plot.figure.legends[0].get_texts()]
    assert not any("published" in text for text in [plot.alt, *legend])


@pytest.mark.parametrize("name", ["online", "two_pass"])
def test_without_a_published_bound_nothing_is_said_of_any(name: str) -> None:
    plot = page_of(run_of(), name)
    assert plot.figure is not None
    legend = [t.get_text() for t in plot.figure.legends[0].get_texts()]
    assert not any("ublished" in text for text in [plot.caption, plot.alt, *legend])
    assert not any(r["Published as"] for r in rows_of(plot))


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
    plot = page_of(run, "max_shift")
    everywhere = recorded(run, "max_shift", "float32", "published_bound_ulp")
    drawn = [point for point in everywhere if point[0] != 100]
    assert lines_of(plot) == {"published_shift_divide": drawn}
    (row,) = [r for r in rows_of(plot) if r["Classes"] == "100"]
    assert row["Published bound ulp"] == row["Published as"] == ""


def test_first_order_ends_where_it_allows_the_whole_result() -> None:
    found = lines_of(page_of(run_of(), "max_shift"), "bfloat16")
    assert found == {"published_shift_divide": [(2, 82.5), (10, 90.5), (100, 180.5)]}


@pytest.mark.parametrize("names", [report_run.NAMES, ("naive",)], ids=len)
def test_the_legend_lies_below_the_panels_and_inside_the_figure(names: tuple[str, ...]) -> None:
    plot = page_of(run_of(names=names), "naive")
    assert plot.figure is not None
    with drawing():
        plot.figure.canvas.draw()
    legend = plot.figure.legends[0].get_window_extent()
    whole = plot.figure.bbox
    assert 0 <= legend.x0 < legend.x1 <= whole.x1
    assert legend.y0 >= 0
    assert all(legend.y1 < axes.get_tightbbox().y0 for axes in plot.figure.axes)


def test_the_alternative_text_has_no_infinite_ulp_and_tells_who_is_above_its_bound() -> None:
    changes = {("naive", 1_000_000): {"max_ulp": math.inf, "error_over_bound": math.inf}}
    alt = by_classes(run_of(changes)).alt
    assert "to not finite (naive)" in alt
    assert "∞" not in alt
    assert "Above its bound: naive." in alt
    assert "bound" not in by_classes(run_of()).alt
    own = page_of(run_of(changes), "naive").alt
    assert "float32 not finite" in own
    assert "∞" not in own


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
    (row,) = [
        r for r in csv_rows(plot.table.to_csv())
        if (r["Implementation"], r["Format"]) == ("max_shift", "float32")
    ]  # fmt: skip
    told = {column: v for column, v in row.items() if column.startswith("scale ")}
    errors = {
        f"scale {c['workload'][13:-1]}": str(c["max_ulp"])
        for c in cells
        if (c["implementation"], c["dtype"], c["classes"]) == ("max_shift", "float32", 1000)
    }
    assert [v for _, v in sorted(told.items())] == [v for _, v in sorted(errors.items())]
