"""Drawing figures: one set-up, panels at fixed places, logarithmic axes, labels at the curves.

The same results give the same bytes. Figures have a transparent ground and the colours of `style`;
`svg` writes them.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from harness.report.drawing import style as palette
from harness.report.drawing import svg
from harness.report.drawing.formatting import superscript
from harness.report.drawing.sanitize import drawn, label, stem
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Drawing, Series
from harness.report.drawing.tables import Table

WIDTH = 9.6  # inches; about the text width of a page, so that 8 pt stays 8 pt

_STYLE = Path(__file__).parent.parent / "static" / "figures.mplstyle"
_COLOURS: Mapping[str, str] = {
    "text.color": palette.INK,
    "axes.edgecolor": palette.AXIS,
    "axes.labelcolor": palette.MUTED,
    "axes.titlecolor": palette.INK,
    "grid.color": palette.GRID,
    "xtick.color": palette.AXIS,
    "ytick.color": palette.AXIS,
    "xtick.labelcolor": palette.MUTED,
    "ytick.labelcolor": palette.MUTED,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's own defaults and the report's settings, whatever the user's are."""
    with matplotlib.style.context(["default", _STYLE, _COLOURS]):
        yield


@dataclass(frozen=True)
class Plot:
    """A figure of the site, with the table behind it.

    Attributes:
        name: stem of its files.
        title, caption: shown with it.
        alt: what it shows, in words, computed from the data.
        table: every number that is drawn, and the reason for every one that is not.
        figure: None where there is nothing to draw; the caption then says why.
    """

    name: str
    title: str
    caption: str
    alt: str
    table: Table
    figure: Drawing | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", stem(self.name))  # it may hold words of a result file

    @classmethod
    def nothing(cls, name: str, title: str, why: str, table: Table) -> Plot:
        """In place of a figure without data."""
        return cls(name, title, f"Nothing to draw{why}", "", table, None)

    @cached_property
    def svg(self) -> str:
        """The figure as an element of a page; empty where there is none."""
        if self.figure is None:
            return ""
        for text in self.figure.findobj(Text):  # a warning about a glyph would hold what has none
            text.set_text(drawn(text.get_text()))
        return svg.inline(self.figure, self.name, self.alt)


def write(plot: Plot, folder: Path) -> None:
    """Write ``name.svg``, where there is a figure."""
    if plot.figure is not None:
        text = svg.standalone(plot.svg)
        (folder / f"{plot.name}.svg").write_text(text, encoding="utf-8", newline="")


class Panel(NamedTuple):
    """A panel of a figure: its axes, and whether it is in the first column, in the last line."""

    axes: Any
    left: bool
    bottom: bool

    def name(self, title: str, x: str, y: str = "") -> None:
        """The title, and the names of the axes where they stand at the edge of the figure."""
        self.axes.set_title(title)
        if self.bottom:
            self.axes.set_xlabel(x)
        if self.left and y:
            self.axes.set_ylabel(y)


def grid(
    count: int,
    columns: int,
    height: float,
    left: float = 0.62,
    right: float = 0.12,
    between: float = 0.22,
    below: float = 0.42,
    foot: float = 0.0,
    width: float = WIDTH,
) -> tuple[Drawing, list[Panel]]:
    """A figure of `count` equal panels, `columns` to a line, each `height` inches high.

    Distances in inches: margins `left` and `right`, gaps `between` columns and `below` lines,
    room for a legend at the `foot`. The whole is `width` wide.
    """
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    top, bottom = 0.28, 0.42 + foot
    total = top + bottom + lines * height + (lines - 1) * below
    figure = Drawing(figsize=(width, total))
    each = (width - left - right - (columns - 1) * between) / columns
    panels = []
    for i in range(count):
        line, column = divmod(i, columns)
        x = left + column * (each + between)
        y = total - top - height - line * (height + below)
        axes = figure.add_axes((x / width, y / total, each / width, height / total))
        # At fixed places: Matplotlib would measure all tick labels to find one for each name.
        axes.xaxis.set_label_coords(0.5, -0.24 / height)
        axes.yaxis.set_label_coords((0.2 - left) / each, 0.5)
        panels.append(Panel(axes, column == 0, i + columns >= count))
    return figure, panels


@dataclass(frozen=True)
class LogScale:
    """A logarithmic axis with places of their own for zero and for infinity.

    A zero and a non-finite value are figures too: they are drawn on lines below and above the
    scale, labelled ``0`` and ``not finite``.
    """

    low: float
    high: float
    zero: bool
    infinite: bool

    @property
    def _step(self) -> float:
        return max(1.7, float((self.high / self.low) ** 0.09))

    @property
    def limits(self) -> tuple[float, float]:
        low = self.low / self._step**2 if self.zero else self.low / self._step**0.4
        high = self.high * self._step**1.8 if self.infinite else self.high * self._step**0.4
        return low, high

    @property
    def margin(self) -> float:
        """Inches that the labels of a vertical axis and its title need."""
        return 1.0 if self.infinite else 0.62

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        if math.isnan(value) or value == math.inf:
            return float(self.high * self._step**1.3)
        return float(self.low / self._step**1.4) if value <= 0 else value

    def apply(self, axis: Any, labelled: bool = True) -> None:
        """Set limits, ticks and labels of a Matplotlib axis (``axes.xaxis`` or ``axes.yaxis``)."""
        axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": self.limits})
        ticks = ticks_between(self.low, self.high)
        labels = [power(t) for t in ticks]
        if self.zero:
            ticks, labels = [self.place(0.0), *ticks], ["0", *labels]
        if self.infinite:
            ticks, labels = [*ticks, self.place(math.inf)], [*labels, "not finite"]
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
        axis.set_ticklabels(labels)
        if not labelled:
            axis.set_tick_params(labelbottom=False, labelleft=False)


def log_scale(values: Sequence[float], floor: float | None = None) -> LogScale:
    """The scale that holds `values`, widened to ticks where they lie close together."""
    finite = [v for v in values if math.isfinite(v) and v > 0]
    low, high = (min(finite), max(finite)) if finite else (1.0, 10.0)
    if floor is not None:
        low = min(low, floor)
    if high / low < 4:
        middle = math.sqrt(low * high)
        low, high = min(low, middle / 2), max(high, middle * 2)
    unbounded = any(math.isnan(v) or v == math.inf for v in values)
    return LogScale(low, high, any(v <= 0 for v in values), unbounded)


def ticks_between(low: float, high: float) -> list[float]:
    """Round numbers in an interval: 1, 2, 5 within two decades, else powers of ten, at most 7."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    span = math.log10(high / low)
    if span <= 2:
        steps = (1.0, 2.0, 5.0)
        found = [m * 10.0**k for k in range(first, last + 1) for m in steps]
    else:
        stride = math.ceil(span / 6)
        start = math.ceil(math.log10(low) - 1e-9)
        found = [10.0**k for k in range(start, last + 1, stride)]
    return [t for t in found if low / 1.0001 <= t <= high * 1.0001]


def power(x: float) -> str:
    """A tick label: 0.05, 2000, 10⁴."""
    exponent = math.floor(math.log10(x) + 1e-9)
    if -3 <= exponent <= 3:
        return f"{x:.{max(0, -exponent)}f}"
    mantissa = round(x / 10.0**exponent)
    head = "" if mantissa == 1 else f"{mantissa}×"
    return f"{head}10{superscript(exponent)}"


def class_axis(axes: Any, classes: Sequence[int], labelled: bool = True) -> None:
    """A logarithmic axis of class counts, the same for all panels of a figure."""
    low, high = min(classes), max(classes)
    axes.set_xscale("log")
    margin = (high / low) ** 0.04 if high > low else 2.0
    axes.set_xlim(low / margin, high * margin)
    ticks = ticks_between(low, high) or [float(low)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([power(t) for t in ticks])
    axes.tick_params(axis="x", labelbottom=labelled)


def broken(
    lines: Iterable[tuple[Sequence[float], Sequence[float]]],
) -> tuple[list[float], list[float]]:
    """Lines as one that is broken between them: Matplotlib takes its time for each, not each point.

    Args:
        lines: x and y of the points of each.
    """
    xs: list[float] = []
    ys: list[float] = []
    for x, y in lines:
        xs += [*x, math.nan]
        ys += [*y, math.nan]
    return xs, ys


def draw_line(
    axes: Any, name: str, style: Style, at: tuple[Sequence[float], Sequence[float]], *,
    on: bool, tips: Sequence[str] = (),
) -> None:  # fmt: skip
    """The curve of an implementation.

    Args:
        at: x and y of its points.
        on: whether it has its colour, and marks at its points, from the beginning.
        tips: what each mark says when it is pointed at.
    """
    (line,) = axes.plot(
        *at, color=style.colour, linestyle=style.line, marker=style.marker if on else "",
        linewidth=1.5 if on else 0.8, zorder=3 if on else 2,
    )  # fmt: skip
    axes.figure.mark(line, Series(name, style.colour, on, tips if on else ()))


def label_ends(
    axes: Any, ends: Mapping[str, tuple[float, float]], style: Mapping[str, Style],
    on: Collection[str], limits: Mapping[str, tuple[float, float]] | None = None,
) -> None:  # fmt: skip
    """Names at the ends of curves; those that are shown from the beginning are kept apart.

    Args:
        ends: the last point of each curve.
        limits: those of the limits, which are always named.
    """
    limits = limits or {}
    scale = 72.0 / axes.figure.dpi
    points = [(n, at, n in on) for n, at in ends.items()] + [
        (n, at, True) for n, at in limits.items()
    ]
    heights = [float(axes.transData.transform(at)[1]) * scale for _, at, _ in points]
    shown = {k: heights[k] for k, (_, _, seen) in enumerate(points) if seen}
    placed = apart(shown, _LINE)
    for k, (name, at, seen) in enumerate(points):
        of_limit = k >= len(ends)
        colour = palette.LIMIT if of_limit else palette.INK  # colours of series are too light
        text = axes.annotate(
            label(name, 24), at, xytext=(6, placed.get(k, heights[k]) - heights[k]),
            textcoords="offset points", va="center", fontsize=7.5, color=colour,
            annotation_clip=False,
        )  # fmt: skip
        if not of_limit:
            axes.figure.mark(text, Series(name, style[name].colour, seen))


_LINE = 9.0  # points from one label to the next


def apart(heights: Mapping[int, float], least: float) -> dict[int, float]:
    """Heights moved as little as need be so that neighbours are `least` apart."""
    blocks: list[tuple[float, list[int]]] = []  # middle and keys of labels that touch
    for key in sorted(heights, key=lambda k: (heights[k], k)):
        middle, keys = heights[key], [key]
        while blocks and middle - blocks[-1][0] < (len(keys) + len(blocks[-1][1])) * least / 2:
            below, others = blocks.pop()
            middle = (below * len(others) + middle * len(keys)) / (len(others) + len(keys))
            keys = [*others, *keys]
        blocks.append((middle, keys))
    return {
        key: middle + (k - (len(keys) - 1) / 2) * least
        for middle, keys in blocks
        for k, key in enumerate(keys)
    }


def note_inside(axes: Any, why: tuple[str, str], width: int = 28) -> None:
    """Status and reason in the middle of an empty panel, in four lines of `width` characters."""
    text = f"{why[0]}: {label(why[1], 120)}"
    axes.text(
        0.5, 0.5, "\n".join(textwrap.wrap(text, width, max_lines=4, placeholder=" …")),
        transform=axes.transAxes, ha="center", va="center", color=palette.MUTED, fontsize=7.5,
        wrap=False,
    )  # fmt: skip
