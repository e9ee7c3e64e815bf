"""What the answers about trainings share: means, settings in words, and a figure's parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from harness.records import TrainingRecord
from harness.records.training import Setting
from harness.report.chosen import chosen
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Panel,
    Plot,
    grid,
)
from harness.report.drawing.formatting import figure
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Entry, Table, number, words
from harness.report.run_data import DTYPES, RunData, ordered

COLOURS = ("#0071b1", "#d25b00", "#00855f", "#b04f8b", "#3a3f46")


class Mean(NamedTuple):
    """The mean of some values and half of its 95% interval, by Student's t; None of one value."""

    value: float
    half: float | None

    @property
    def text(self) -> str:
        half = "" if self.half is None else f" ± {figure(100 * self.half, 2)}"
        return f"{figure(100 * self.value)}{half}"


def mean_of(values: Sequence[float]) -> Mean:
    from scipy import stats

    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Mean(fmean(values), half)


def dtypes_of(records: Iterable[TrainingRecord]) -> list[str]:
    return ordered((c.dtype for c in records), DTYPES)


def names_of(run: RunData, records: Iterable[TrainingRecord]) -> list[str]:
    present = {c.implementation for c in records}
    return [n for n in run.implementations if n in present]


def setting_of(c: TrainingRecord) -> Setting:
    return c.setting or Setting()


def network(s: Setting) -> str:
    """A setting in words."""
    layers = "–".join(map(str, s.hidden))
    loss = {"own": "F.cross_entropy", "squared": "squared error"}.get(s.loss, "")
    smooth = f"labels smoothed by {figure(s.smoothing)}" if s.smoothing else ""
    optimiser = "Adam" if s.optimiser == "adam" else "SGD"
    parts = (f"{layers} hidden", f"{optimiser} {s.rate:g}", loss, smooth)
    return ", ".join(p for p in parts if p)


def mean_entry(values: Sequence[float], times: float = 1.0) -> Entry:
    if not values:
        return Entry("–", "")
    m = mean_of(values)
    detail = None if m.half is None else f"± {figure(times * m.half, 2)}"
    return Entry(figure(times * m.value), times * m.value, detail=detail)


def gap_entry(value: float | None) -> Entry:
    return words("never") if value is None else number(value)


def coloured(run: RunData) -> frozenset[str]:
    """Whose curves have their colours from the beginning."""
    return chosen(run) | {run.info.baseline or "max_shift", "naive"}


def mark(
    axes: Any, name: str, style: Style, at: int, bar: Sequence[float], marks: Sequence[float],
    tip: str,
) -> None:  # fmt: skip
    """A bar, and marks, in the line of an implementation."""
    series = Series(name, style.colour, True, [tip])
    (line,) = axes.plot(bar, [at, at], color=style.colour, **palette.BAR)
    axes.figure.mark(line, series)
    if marks:
        (line,) = axes.plot(marks, [at] * len(marks), color=style.colour, marker=style.marker,
                            linestyle="none", markersize=5)  # fmt: skip
        axes.figure.mark(line, series)


def strips(
    run: RunData, records: Sequence[TrainingRecord], name: str, told: str, caption: str,
    table: Table, draw: Callable[[Panel, str, Sequence[str], Mapping[str, Style]], None],
    unit: str, above: float = 0.0, below: Sequence[str] = (),
) -> Plot:  # fmt: skip
    """A panel a format with a line for each implementation, and lines `below` them."""
    dtypes, names = dtypes_of(records), [*below, *names_of(run, records)[::-1]]
    if not names:
        return Plot.nothing(name, told.removesuffix("."), ".", table)
    style = palette.styles(names)
    fig, panels = grid(len(dtypes), 4, 0.17 * len(names) + 0.25, left=1.45)
    for panel, dtype in zip(panels, dtypes, strict=True):
        draw(panel, dtype, names, style)
        panel.axes.set_ylim(-0.7, len(names) - 0.3 + above)
        panel.axes.set_yticks(range(len(names)), [label(n, 24) for n in names] if panel.left else
                              [""] * len(names))  # fmt: skip
        panel.axes.grid(visible=False, axis="y")
        panel.name(dtype, unit)
    return plot_of(name, told, caption, table, fig)


def plot_of(name: str, told: str, caption: str, table: Table, fig: Any) -> Plot:
    return Plot(name, told.removesuffix("."), prose(caption), told, table, fig)
