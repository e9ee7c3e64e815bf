"""Drawing and exporting figures: one set-up, two formats.

Text in an SVG is stored as outlines, comments and metadata are dropped, and identifiers are
salted with a constant: the same results give the same bytes. Figures have a transparent ground
and the colours of `style`; on dark pages the style sheet inverts their lightness.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from PIL import Image  # of Matplotlib's own dependencies

from harness.report.drawing import style as palette
from harness.report.drawing.formatting import superscript
from harness.report.drawing.sanitize import drawn, label, stem
from harness.report.drawing.tables import Table

WIDTH = 9.6  # inches; about the text width of a page, so that 8 pt stays 8 pt
PNG_DPI = 100

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
PNG_COLOURS = 128
_SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


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
    figure: Figure | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", stem(self.name))  # it may hold words of a result file

    @classmethod
    def nothing(cls, name: str, title: str, why: str, table: Table) -> Plot:
        """In place of a figure without data."""
        return cls(name, title, f"Nothing to draw{why}", "", table, None)


def svg_text(figure: Figure) -> str:
    """The figure as SVG: no comments (they would hold the text of labels), no metadata."""
    buffer = BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())  # its parser drops comments
    _tidy(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _tidy(element: ElementTree.Element) -> None:
    """Without white space between elements, names of groups and groups that are empty."""
    for child in list(element):
        _tidy(child)
        child.tail = None
        if child.tag == f"{{{_SVG}}}g":
            child.attrib.pop("id", None)
            if len(child) == 0:
                element.remove(child)
    if len(element):
        element.text = None


def write(plot: Plot, folder: Path) -> None:
    """Write ``name.svg``, ``name.png`` (where drawn) and ``name.csv``."""
    (folder / f"{plot.name}.csv").write_text(plot.table.to_csv(), encoding="utf-8", newline="")
    if plot.figure is None:
        return
    for text in plot.figure.findobj(Text):  # a warning about a glyph would hold what has none
        text.set_text(drawn(text.get_text()))
    svg = svg_text(plot.figure)
    (folder / f"{plot.name}.svg").write_text(svg, encoding="utf-8", newline="")
    _write_png(plot.figure, folder / f"{plot.name}.png")


def _write_png(figure: Figure, path: Path) -> None:
    """The figure on white, with a palette: a third of the bytes of full colour."""
    figure.set(dpi=PNG_DPI, facecolor="#ffffff")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    reduced = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(
        PNG_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    reduced.save(path, "PNG", compress_level=6)


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
) -> tuple[Figure, list[Panel]]:
    """A figure of `count` equal panels, `columns` to a line, each `height` inches high.

    Distances in inches: margins `left` and `right`, gaps `between` columns and `below` lines,
    room for a legend at the `foot`.
    """
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    top, bottom = 0.28, 0.42 + foot
    total = top + bottom + lines * height + (lines - 1) * below
    figure = Figure(figsize=(WIDTH, total))
    width = (WIDTH - left - right - (columns - 1) * between) / columns
    panels = []
    for i in range(count):
        line, column = divmod(i, columns)
        x = left + column * (width + between)
        y = total - top - height - line * (height + below)
        axes = figure.add_axes((x / WIDTH, y / total, width / WIDTH, height / total))
        # At fixed places: Matplotlib would measure all tick labels to find one for each name.
        axes.xaxis.set_label_coords(0.5, -0.24 / height)
        axes.yaxis.set_label_coords((0.2 - left) / width, 0.5)
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


def side_legend(
    fig: Any, handles: Mapping[str, Any], names: Iterable[str], room: float, limit: int
) -> None:
    """A legend in `room` inches at the right of a figure, names cut to `limit` characters."""
    order = [n for n in names if n in handles]
    fig.legend(
        [handles[n] for n in order], [label(n, limit) for n in order], loc="upper left",
        bbox_to_anchor=(1 - room / WIDTH, 0.95), borderaxespad=0, labelspacing=0.6,
    )  # fmt: skip


def note_inside(axes: Any, why: tuple[str, str], width: int = 28) -> None:
    """Status and reason in the middle of an empty panel, in four lines of `width` characters."""
    text = f"{why[0]}: {label(why[1], 120)}"
    axes.text(
        0.5, 0.5, "\n".join(textwrap.wrap(text, width, max_lines=4, placeholder=" …")),
        transform=axes.transAxes, ha="center", va="center", color=palette.MUTED, fontsize=7.5,
        wrap=False,
    )  # fmt: skip
