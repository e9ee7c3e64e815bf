"""What a page shows first: who is in colour, what is told first, which point is plotted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import report_run

from harness.report.chosen import chosen, fastest_first, ranked, shared_errors
from harness.report.drawing.figure import Plot, drawing
from harness.report.drawing.style import VARIABLES, styles
from harness.report.pages import pareto, throughput
from harness.report.pages.findings import LEADING, findings
from harness.report.run_data import RunData, from_run
from harness.report.timing_selection import groups

Cell = dict[str, Any]


def run_of(cells: list[Cell], **changes: Any) -> RunData:
    return from_run(report_run.run(cells, **changes), "")


def whole(change: Callable[[Cell], Cell] = dict) -> RunData:
    """The synthetic run in float32, with its cells changed."""
    cells = report_run.accuracy_cells() + report_run.throughput_cells()
    return run_of([change(c) for c in cells if c["dtype"] == "float32"])


def error(name: str, workload: str, ulp: float | None, **changes: Any) -> Cell:
    return {
        "experiment": "accuracy", "implementation": name, "dtype": "float32", "status": "ok",
        "workload": workload, "classes": 10, "rows": 3, "seed": 0, "max_ulp": ulp, **changes,
    }  # fmt: skip


def test_errors_are_compared_over_the_places_that_all_have() -> None:
    run = run_of([
        error("torch", "a", 1.0), error("torch", "b", 3.0), error("torch", "hard", 100.0),
        error("scipy", "a", 2.0), error("scipy", "b", 1.5),
        error("scipy", "hard", None, status="timeout", reason="60 s"),
        error("naive", "a", 1.0, dtype="float64"), error("max_shift", "a", 9.0, operation="other"),
    ])  # fmt: skip
    assert shared_errors(run, "float32") == ({"torch": 3.0, "scipy": 2.0}, 2)
    assert shared_errors(run, "float64") == ({}, 0)


def test_without_a_place_in_common_nobody_is_compared() -> None:
    run = run_of([error("torch", "a", 1.0), error("scipy", "b", 2.0)])
    assert shared_errors(run, "float32") == ({}, 0)


def test_speeds_are_ranked_from_the_fastest_without_those_struck_out() -> None:
    run = whole()
    found = ranked(run)
    assert list(found)[:2] == ["numba_cpu", "torch"]
    speeds = [c.gbps for c in found.values()]
    assert speeds == sorted(speeds, key=lambda s: -(s or 0))
    assert "two_pass" not in found  # struck out
    order = fastest_first(run)
    assert order[: len(found)] == list(found)
    assert sorted(order) == sorted(run.implementations)


def accurate(name: str) -> Callable[[Cell], Cell]:
    """The synthetic run in which one implementation has the smallest errors."""
    return lambda c: {**c, "max_ulp": 0.5} if c["implementation"] == name and "max_ulp" in c else c


def test_in_colour_are_the_fastest_the_most_accurate_the_baseline_and_torch() -> None:
    assert chosen(whole(accurate("online"))) == {"numba_cpu", "online", "max_shift", "torch"}


def test_who_is_struck_out_is_not_the_fastest() -> None:
    def change(c: Cell) -> Cell:
        wrong = c["implementation"] == "numba_cpu" and c["experiment"] == "throughput"
        return {**accurate("online")(c), **({"ranked": False} if wrong else {})}

    assert chosen(whole(change)) == {"online", "max_shift", "torch"}


def test_without_measurements_only_torch_is_in_colour() -> None:
    assert chosen(run_of([])) == {"torch"}


def test_few_are_all_in_colour_but_who_could_not_run() -> None:
    given = [report_run.implementation(n) for n in ("a", "b", "c", "d")]
    absent = report_run.implementation("e", available=False, unavailable_reason="no GPU")
    run = run_of([], implementations=[*given, absent])
    assert chosen(run) == {"a", "b", "c", "d"}
    more = run_of([], implementations=[*given, report_run.implementation("f"), absent])
    assert chosen(more) == set()


def topics(run: RunData) -> tuple[list[str], list[str]]:
    first, later = findings(run)
    return [f.topic for f in first], [f.topic for f in later]


def case(name: str) -> Cell:
    return {
        "experiment": "conformance", "implementation": name, "operation": "softmax",
        "dtype": "float32", "workload": "1-masked", "case": "1-masked", "seed": 0, "number": 1,
        "kind": "contradiction", "verdict": "pass", "status": "ok", "outcome": "exact",
    }  # fmt: skip


def test_the_first_findings_are_those_that_a_reader_needs_and_the_last_what_was_not_measured() -> (
    None
):
    first, later = topics(run_of(report_run.cells()))
    assert first == ["Throughput", "Accuracy", "Overflow", "Offset", "Bounds"]
    assert later == ["Noise", "Coverage", "Conformance", "Claims"]


def test_what_was_judged_is_among_the_first() -> None:
    first, later = topics(run_of([*report_run.cells(), case("torch")]))
    assert len(first) == LEADING
    assert first == ["Throughput", "Accuracy", "Overflow", "Offset", "Conformance"]
    assert later == ["Bounds", "Noise", "Coverage", "Claims"]


def test_a_run_of_one_experiment_tells_first_what_it_has() -> None:
    first, later = topics(run_of([case("torch")]))
    assert first == ["Conformance"]
    assert later == ["Coverage", "Claims"]
    assert topics(run_of([])) == ([], ["Coverage", "Conformance", "Claims"])


INFINITE = {"gbps_high": "Infinity", "gate_ulp": "Infinity", "gbps_low": "NaN"}


def test_what_the_plot_is_drawn_from_is_json_without_a_number_that_json_lacks() -> None:
    run = whole(lambda c: {**c, **INFINITE} if c["experiment"] == "throughput" else c)
    given = pareto.choices(run, styles(run.implementations))
    text = json.dumps(given, allow_nan=False)
    assert json.loads(text) == given
    assert given["errors"]["float32"]["naive"] == "inf"
    assert given["errors"]["float32"]["max_shift"] == 5.7
    assert {tuple(at[1:3]) for p in given["points"] for at in p["at"].values()} >= {(None, None)}


def test_the_plot_has_every_point_that_was_timed_and_the_page_begins_with_one_of_them() -> None:
    run = whole()
    given = pareto.choices(run, styles(run.implementations))
    assert given["names"].keys() == set(run.implementations)
    assert set(given["names"].values()) <= set(VARIABLES.values())
    places = [(p["dtype"], p["regime"], p["threads"], p["classes"]) for p in given["points"]]
    assert len(places) == len(set(places)) == 2 * 3 * 5
    assert pareto.place(run) == ["float32", "streaming", "4", "1000"]
    (point,) = [
        p for p, at in zip(given["points"], places, strict=True)
        if [str(v) for v in at] == pareto.place(run)
    ]  # fmt: skip
    assert point["unit"] == "GB/s"
    assert point["at"]["numba_cpu"] == [42.49, 40.85, 43.8, "", 1.3]
    assert point["at"]["two_pass"][3:] == ["x", 900.0]
    noisy = [p for p in given["points"] if (p["regime"], p["classes"]) == ("latency", 10)]
    assert {p["unit"] for p in noisy} == {"µs"}
    assert {p["at"]["torch"][3] for p in noisy} == {"~"}


def test_without_timings_there_is_no_point_and_the_plot_says_so() -> None:
    run = run_of([error("torch", "a", 1.0)])
    plot = pareto.pareto(run, styles(run.implementations), "pareto")
    assert plot.figure is None
    assert plot.caption.startswith("Nothing to draw: no implementation has both")
    (row,) = [row for row in plot.table.rows if row[0].text == "torch"]
    assert row[1].kind == "missing"
    assert "not in the plan" in str(row[1].note)
    assert pareto.choices(run, styles(run.implementations))["points"] == []
    assert pareto.place(run) == []


def bars_of(regime: str, **changes: Any) -> Plot:
    """Timings at 10 classes alone."""
    cells = [
        {**c, **changes.get(c["implementation"], {})}
        for c in report_run.throughput_cells()
        if (c["regime"], c["classes"], c["threads"]) == (regime, 10, 4)
    ]
    run = run_of(cells)
    with drawing():
        return throughput.by_classes(run, groups(run)[0], styles(run.implementations), "t")


def names_from_the_top(plot: Plot) -> list[str]:
    """What stands beside the bars."""
    assert plot.figure is not None
    (axes,) = plot.figure.axes
    texts = [t for t in axes.texts if not t.get_text().startswith("copy")]
    return [t.get_text() for t in sorted(texts, key=lambda t: -t.xy[1])]


@pytest.mark.parametrize(("regime", "sign"), [("streaming", -1), ("latency", 1)])
def test_with_one_class_count_there_is_a_bar_for_each_the_best_on_top(
    regime: str, sign: int
) -> None:
    plot = bars_of(regime)
    told = names_from_the_top(plot)
    assert len(told) == len(report_run.SPEEDS)
    assert told[-1].startswith("two_pass")  # struck out, whatever its speed
    values = [float(t.split()[1].removeprefix("~")) for t in told[:-1]]
    assert values == sorted(values, key=lambda v: sign * v)
    assert told[0].startswith("numba_cpu")
    assert all(("~" in t) == (regime == "latency") for t in told)  # those are not decided
    assert plot.figure is not None
    (axes,) = plot.figure.axes
    drawn = sorted(bar.get_width() for bar in axes.patches)
    column = "Least" if regime == "latency" else "Bandwidth"
    assert column in [c.header for c in plot.table.columns]
    expected = sorted(float(t.split()[1].removeprefix("~")) for t in told)
    assert drawn == pytest.approx(expected, rel=0.005)


def test_the_interval_of_a_bar_is_a_line_and_a_limit_stands_at_its_value() -> None:
    plot = bars_of("streaming")
    assert plot.figure is not None
    (axes,) = plot.figure.axes
    lines = [[float(x) for x in line.get_xdata()] for line in axes.lines]
    rows = {row[0].text: row for row in plot.table.rows if row[5].text != "new"}
    headers = [c.header for c in plot.table.columns]
    speed = rows["numba_cpu"][headers.index("Bandwidth")].raw
    assert pytest.approx([speed / 1.04, speed / 0.97]) in lines
    for name in ("copy_regular", "copy_nontemporal"):
        limit = rows[name][headers.index("Bandwidth")].raw
        assert [pytest.approx(limit)] * 2 in lines
        assert limit < axes.get_xlim()[1]
    assert {t.get_text().split("  ")[0] for t in axes.texts} >= {"copy, regular"}


def test_a_bar_says_what_it_is_and_a_long_one_stays_inside() -> None:
    plot = bars_of("streaming", scipy={"gbps": 500.0, "gbps_low": 490.0, "gbps_high": 510.0})
    assert plot.figure is not None
    (axes,) = plot.figure.axes
    assert axes.get_xlim()[1] > 510.0
    tips = {one.tips[0] for one in plot.figure.series.values() if one.name == "scipy"}
    assert tips == {"10 classes: 500 GB/s [490, 510]"}
    struck = {one.tips[0] for one in plot.figure.series.values() if one.name == "two_pass"}
    assert all(tip.endswith("(failed the accuracy gate)") for tip in struck)
