"""Timings in a figure: curves against the class count, or bars where there is one class count."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.records.timing import TimingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Panel,
    broken,
    class_axis,
    draw_line,
    label_ends,
    log_scale,
)
from harness.report.drawing.formatting import figure, integer, interval
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.timing_selection import struck

LIMIT_DASHES = ((5.0, 2.0), (1.2, 1.4), (7.0, 2.0, 1.2, 2.0))
LABELS = 1.15
"""Inches that names at the right of a panel need."""


class Point(NamedTuple):
    """What a figure shows of a timing: a value with its interval at a class count."""

    classes: int
    value: float
    low: float | None
    high: float | None
    record: TimingRecord

    def tip(self, unit: str) -> str:
        """What the point says when it is pointed at."""
        doubt = " (undecided)" if self.record.noisy else ""
        doubt = " (failed the accuracy gate)" if struck(self.record) else doubt
        ends = interval(self.low, self.high)
        at = f"{integer(self.classes)} classes: {figure(self.value)} {unit}"
        return f"{at}{' ' + ends if ends else ''}{doubt}"


Curves = Mapping[str, Sequence[Point]]


def points_of(records: Iterable[TimingRecord], *, latency: bool) -> list[Point]:
    """Microseconds of a call for single rows, else GB/s; without the records that have neither."""
    found = []
    for c in records:
        if c.classes is None:
            continue
        if latency and c.time_ns is not None:
            ends = (c.best_low_ns or c.ci_low_ns, c.best_ns or c.ci_high_ns)
            low, high = (None if ns is None else ns / 1e3 for ns in ends)
            found.append(Point(c.classes, c.time_ns / 1e3, low, high, c))
        elif not latency and c.gbps is not None:
            found.append(Point(c.classes, c.gbps, c.gbps_low, c.gbps_high, c))
    return found


def draw(
    panel: Panel, curves: Curves, limits: Curves, style: Mapping[str, Style],
    on: Collection[str], unit: str, top: float | None = None,
) -> None:  # fmt: skip
    """Fill a panel: curves with the limits, or bars where all have one class count.

    Args:
        curves: of the implementations; may be empty for some.
        limits: under the names that they are to have in the figure.
        on: the implementations that have their colours from the beginning.
        unit: of the values; a time is better where it is smaller.
        top: the upper end of a linear axis; without it the axis is logarithmic.
    """
    curves = {n: points for n, points in curves.items() if points}
    limits = {n: points for n, points in limits.items() if points}
    classes = sorted({p.classes for points in curves.values() for p in points})
    if not classes:
        return
    if len(classes) == 1:
        here = {n: p for n, points in limits.items() for p in points if p.classes in classes}
        _bars(panel.axes, {n: p for n, (p,) in curves.items()}, here, style, on, unit)
        panel.axes.set_xlabel(unit)
        return
    axes = panel.axes
    axes.set_xlabel("classes")
    shown = [p for points in (*curves.values(), *limits.values()) for p in points]
    if top is None:
        log_scale([v for p in shown for v in (p.value, p.low, p.high) if v]).apply(axes.yaxis)
    else:
        axes.set_ylim(0.0, top)
    class_axis(axes, sorted({p.classes for p in shown}))
    ceiling = math.inf if top is None else top
    for k, points in enumerate(limits.values()):
        dashes = LIMIT_DASHES[k % len(LIMIT_DASHES)]
        axes.plot(*_line(points, ceiling), color=palette.LIMIT, linewidth=1.0, dashes=dashes)
    for name, points in sorted(curves.items(), key=lambda item: item[0] in on):
        _curve(axes, name, points, style[name], name in on, unit, ceiling)
    ends = {n: (p.classes, min(p.value, ceiling)) for n, (*_, p) in curves.items()}
    named = {n: (p.classes, min(p.value, ceiling)) for n, (*_, p) in limits.items()}
    label_ends(axes, ends, style, on, named)


def _line(points: Sequence[Point], ceiling: float) -> tuple[list[float], list[float]]:
    return [p.classes for p in points], [min(p.value, ceiling) for p in points]


def _curve(
    axes: Any, name: str, points: Sequence[Point], style: Style, on: bool, unit: str,
    ceiling: float,
) -> None:  # fmt: skip
    """Values with intervals; a ring where undecided, crossed out where the gate struck one out.

    What lies above the ceiling is a triangle there.
    """
    tips = [p.tip(unit) for p in points]
    draw_line(axes, name, style, _line(points, ceiling), on=on, tips=tips)
    bars = [
        ([p.classes] * 2, [p.low, p.high])
        for p in points
        if p.low is not None and p.high is not None and p.value <= ceiling
    ]
    series = Series(name, style.colour, on)
    if bars:
        (line,) = axes.plot(*broken(bars), color=style.colour, **palette.BAR)
        axes.figure.mark(line, series)
    for marked, options in (
        ([p for p in points if p.value > ceiling], {**palette.ABOVE, "color": style.colour}),
        ([p for p in points if p.record.noisy], {**palette.NOISY, "markeredgecolor": style.colour}),
        ([p for p in points if struck(p.record)], palette.STRUCK),
    ):
        if marked:
            (line,) = axes.plot(*_line(marked, ceiling), **options)
            axes.figure.mark(line, series)


def _bars(
    axes: Any, values: Mapping[str, Point], limits: Mapping[str, Point],
    style: Mapping[str, Style], on: Collection[str], unit: str,
) -> None:  # fmt: skip
    """A bar for each, the best on top, with its name and value, and the limits as lines."""
    sign = 1 if unit == "µs" else -1
    order = sorted(values, key=lambda n: (struck(values[n].record), sign * values[n].value))
    for k, name in enumerate(reversed(order)):
        p = values[name]
        series = Series(name, style[name].colour, name in on, [p.tip(unit)])
        marks = [axes.barh([k], [p.value], height=0.62, color=style[name].colour).patches[0]]
        if p.low is not None and p.high is not None:
            marks += axes.plot([p.low, p.high], [k, k], color=palette.INK, linewidth=0.8)
        if struck(p.record):
            marks += axes.plot([p.value], [k], **palette.STRUCK)
        for mark in marks:
            axes.figure.mark(mark, series)
        axes.annotate(
            f"{label(name, 24)}  {'~' if p.record.noisy else ''}{figure(p.value)}",
            (max(p.value, p.high or 0.0), k), xytext=(5, 0), textcoords="offset points",
            va="center", fontsize=7.5,
        )  # fmt: skip
    for k, (name, p) in enumerate(limits.items()):
        dashes = LIMIT_DASHES[k % len(LIMIT_DASHES)]
        axes.axvline(p.value, color=palette.LIMIT, linewidth=1.0, dashes=dashes)
        axes.annotate(
            f"{name}  {figure(p.value)}", (p.value, len(order) + 0.1 + 0.75 * k), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=7.0, color=palette.LIMIT,
        )  # fmt: skip
    longest = max(p.value for p in (*values.values(), *limits.values()))
    axes.set(xlim=(0.0, 1.6 * longest), ylim=(-0.6, len(order) + 0.75 * len(limits)), yticks=())
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def best_of(points: Iterable[Point], *, latency: bool) -> str:
    """The best of those that were not struck out, in words; empty where there is none."""
    pick, what, unit = (min, "shortest", "µs") if latency else (max, "highest", "GB/s")
    good = [p for p in points if not struck(p.record)]
    if not good:
        return ""
    p = pick(good, key=lambda p: p.value)
    return (
        f"{what} {figure(p.value)} {unit} ({p.record.implementation}, {integer(p.classes)} classes)"
    )
