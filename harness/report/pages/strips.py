"""Figures with a panel for each format and a line for each implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.records import Record
from harness.report.drawing import style as palette
from harness.report.drawing.figure import Panel, Plot, grid
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Table
from harness.report.run_data import DTYPES, RunData, ordered

Draw = Callable[[Panel, str, Sequence[str], Mapping[str, Style]], None]
"""Draws a panel: of a format, for these implementations, in their styles."""


def dtypes_of(records: Iterable[Record]) -> list[str]:
    return ordered((c.dtype for c in records), DTYPES)


def names_of(run: RunData, records: Iterable[Record]) -> list[str]:
    present = {c.implementation for c in records}
    return [n for n in run.implementations if n in present]


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
    run: RunData, records: Sequence[Record], name: str, told: str, caption: str,
    table: Table, draw: Draw, unit: str, above: float = 0.0, below: Sequence[str] = (),
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
