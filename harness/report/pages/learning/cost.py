"""Time of the loss and of a step by class count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.records import TrainingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Plot,
    class_axis,
    draw_line,
    grid,
    label_ends,
    log_scale,
    power,
)
from harness.report.drawing.formatting import duration, figure, integer, percent
from harness.report.drawing.tables import Column, Entry, Table, number, texts, words
from harness.report.pages.learning.common import coloured, setting_of
from harness.report.pages.strips import plot_of
from harness.report.run_data import RunData, known


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """The exponent of the power law through the points of the two largest class counts."""
    if len(points) < 2:
        return None
    (x, y), (u, v) = sorted(points)[-2:]
    return math.log(v / y) / math.log(u / x)


def _cost_lines(records: Iterable[TrainingRecord]) -> dict[str, list[TrainingRecord]]:
    found: dict[str, list[TrainingRecord]] = defaultdict(list)
    for c in records:
        if c.head_ns is not None:
            own = " (F.cross_entropy)" if setting_of(c).loss == "own" else ""
            found[f"{c.implementation}{own}"].append(c)
    return {n: sorted(cells, key=lambda c: c.classes or 0) for n, cells in found.items()}


def _points(cells: Iterable[TrainingRecord], name: str) -> list[tuple[float, float]]:
    return [(float(c.classes or 0), known(getattr(c, name))) for c in cells]


def told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    lines = _cost_lines(records)
    slopes = [s for cells in lines.values() if (s := slope(_points(cells, "head_ns")))]
    if not slopes:
        return "Too few class counts for a slope."
    before, last = sorted({c.classes or 0 for c in records})[-2:]
    at = {n: cells[-1] for n, cells in lines.items() if cells[-1].classes == last}
    best = min(at, key=lambda n: known(at[n].head_ns))
    c = at[best]
    share = known(c.head_ns) / known(c.step_ns)
    return (
        f"From {integer(before)} to {integer(last)} classes the time of forward and backward grows "
        f"as the classes to the power of {figure(min(slopes), 2)} to {figure(max(slopes), 2)} "
        f"(predicted 1; what grows exponentially has no such power). At {integer(last)} classes "
        f"the least is {duration(c.head_ns)} ({best}), "
        f"{percent(share, 2)}% of a whole step."
    )


def plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    lines = _cost_lines(records)
    style = {n: palette.styles([n.split(" ")[0]])[n.split(" ")[0]] for n in lines}
    on = {n for n in lines if n in coloured(run) or "(" in n}
    fig, panels = grid(2, 2, 2.1, left=0.8, right=1.5, between=1.7)
    classes = sorted({c.classes or 0 for c in records})
    for panel, name, title in zip(
        panels, ("head_ns", "step_ns"), ("Loss, forward and backward", "Whole step"), strict=True
    ):
        values = [v / 1e3 for cells in lines.values() for _, v in _points(cells, name)]
        log_scale(values).apply(panel.axes.yaxis)
        class_axis(panel.axes, classes)
        ends = {}
        for n, cells in lines.items():
            at = _points(cells, name)
            xs, ys = [int(x) for x, _ in at], [y / 1e3 for _, y in at]
            tips = [
                f"{n}, {integer(x)} classes: {duration(1e3 * y)}"
                for x, y in zip(xs, ys, strict=True)
            ]
            draw_line(panel.axes, n, style[n], (xs, ys), on=n in on, tips=tips)
            ends[n] = (float(xs[-1]), ys[-1])
        label_ends(panel.axes, ends, style, on)
        panel.name(title, "classes", "µs")
    return plot_of("training-cost", told, "training_cost", table, fig)


def table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    lines = _cost_lines(records)
    classes = sorted({c.classes or 0 for c in records})
    rows = []
    for n, cells in lines.items():
        at = {c.classes: c for c in cells}
        row = [words(n)]
        for name in ("head_ns", "step_ns"):
            row += [
                Entry(duration(ns), ns) if k in at and (ns := getattr(at[k], name)) else words("–")
                for k in classes
            ]
            row.append(number(slope(_points(cells, name)), 2))
        rows.append(row)
    columns = texts("Implementation")
    for group in ("Loss, forward and backward", "Whole step"):
        columns += [Column(f"{power(k) if k >= 10_000 else k}", "classes", group) for k in classes]
        columns.append(Column("Exponent", "of the last two", group))
    rows_of = next((c.rows for c in records), None)
    caption = f"Least times by class count, float32, {rows_of} rows, one thread"
    return Table("training-cost", caption, columns, rows)
