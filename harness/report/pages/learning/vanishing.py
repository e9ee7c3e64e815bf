"""Gradients that are exactly 0, by the gap of a wrong answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.records import TrainingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Plot,
    draw_line,
    grid,
)
from harness.report.drawing.formatting import figure
from harness.report.drawing.tables import Column, Table, number, texts, words
from harness.report.pages.learning.common import coloured, gap_entry
from harness.report.pages.strips import dtypes_of, plot_of
from harness.report.run_data import RunData


def _reaches(c: TrainingRecord, name: str, share: float = 0.5) -> float | None:
    """The gap from which on at least such a share of a curve is 0."""
    curves = c.curves or {}
    pairs = zip(curves.get("gap", ()), curves.get(name, ()), strict=True)
    return next((gap for gap, value in pairs if value >= share), None)


def told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    parts = []
    for dtype in dtypes_of(records):
        here = [c for c in records if c.dtype == dtype]
        gaps = [g for c in here if (g := _reaches(c, "squared_rows")) is not None]
        if gaps:
            span = figure(min(gaps)) if min(gaps) == max(gaps) else (
                f"{figure(min(gaps))} to {figure(max(gaps))}"
            )  # fmt: skip
            parts.append(f"{dtype} {span} (predicted {figure(here[0].predicted)})")
    never = not any(_reaches(c, "cross_entropy_rows", 1e-9) is not None for c in records)
    text = (
        "A confident wrong answer trained by squared error through softmax has no gradient at "
        f"all, in half of the rows, from a gap of {'; '.join(parts)}." if parts else
        "No gradient vanished."
    )  # fmt: skip
    if never:
        text += " Cross-entropy's gradient, p − y, is never 0 in such a row."
    return text


def plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    dtypes = dtypes_of(records)
    style = palette.styles(run.implementations)
    on = coloured(run)
    fig, panels = grid(len(dtypes), 2, 1.7, right=0.3)
    for panel, dtype in zip(panels, dtypes, strict=True):
        for c in records:
            curves = c.curves or {}
            if c.dtype == dtype and "gap" in curves:
                look, shown = style[c.implementation], c.implementation in on
                draw_line(panel.axes, c.implementation, replace(look, marker=""),
                          _turns(curves, "squared_rows"), on=shown)  # fmt: skip
                if any(curves["cross_entropy_rows"]) or c.implementation in on:
                    panel.axes.plot(*_turns(curves, "cross_entropy_rows"), color=palette.INK,
                                    linewidth=0.8, dashes=(1.2, 1.2))  # fmt: skip
        predicted = next((c.predicted for c in records if c.dtype == dtype), None)
        if predicted:
            panel.axes.axvline(predicted, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
            panel.axes.annotate(
                f"predicted {figure(predicted)}", (predicted, 50), xytext=(-4, 0), ha="right",
                textcoords="offset points", fontsize=7.5, color=palette.LIMIT,
            )  # fmt: skip
        panel.axes.set_ylim(-4, 104)
        panel.name(dtype, "gap", "% of rows without gradient")
    return plot_of("training-vanishing", told, "training_vanishing", table, fig)


def _turns(curves: Mapping[str, Sequence[float]], name: str) -> tuple[list[float], list[float]]:
    """A curve in per cent, without the points between two others of the same height."""
    points = list(zip(curves["gap"], curves[name], strict=True))
    kept = [
        p
        for k, p in enumerate(points)
        if k in (0, len(points) - 1) or not points[k - 1][1] == p[1] == points[k + 1][1]
    ]
    return [gap for gap, _ in kept], [100 * share for _, share in kept]


def table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    rows = [
        [
            words(c.implementation), words(c.dtype), number(c.predicted),
            *(gap_entry(_reaches(c, name)) for name in
              ("saturated", "squared_entries", "squared_rows", "cross_entropy_entries",
               "cross_entropy_rows")),
            words(c.route),
        ]
        for c in records
    ]  # fmt: skip
    columns = [
        *texts("Implementation", "Format"), Column("Predicted", "gap"),
        Column("Saturated", "gap"), Column("Entries", "gap", "Squared error"),
        Column("Rows", "gap", "Squared error"),
        Column("Entries", "gap", "Cross-entropy"), Column("Rows", "gap", "Cross-entropy"),
        *texts("Operations used"),
    ]  # fmt: skip
    caption = (
        "The gap from which on half of the gradient entries, or of the rows, are exactly 0, or "
        "half of the rows have a probability of exactly 1"
    )
    return Table("training-vanishing", caption, columns, rows)
