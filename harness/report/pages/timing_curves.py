"""Curves of timings against class count: their points, how they are drawn, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.records.timing import TimingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import broken
from harness.report.drawing.formatting import figure, integer
from harness.report.drawing.style import Style
from harness.report.timing_selection import struck

LIMIT_DASHES = ((5.0, 2.0), (1.2, 1.4), (7.0, 2.0, 1.2, 2.0))
_ABOVE: Mapping[str, Any] = {
    "marker": "^", "markersize": 8.0, "linestyle": "none", "clip_on": False
}  # fmt: skip


class Point(NamedTuple):
    """What a figure shows of a timing: a value with its interval at a class count."""

    classes: int
    value: float
    low: float | None
    high: float | None
    record: TimingRecord


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


def line(points: Sequence[Point], top: float = math.inf) -> tuple[list[int], list[float]]:
    """The places of some points, none of them above `top`."""
    return [p.classes for p in points], [min(p.value, top) for p in points]


def ends(points: Iterable[Point]) -> list[float]:
    """The values of some points and the ends of their intervals."""
    return [v for p in points for v in (p.value, p.low, p.high) if v is not None]


def draw_curve(axes: Any, points: Sequence[Point], style: Style, top: float = math.inf) -> Any:
    """Values with intervals; hollow where noisy, crossed out where the gate struck one out.

    What lies above `top` is a triangle there.
    """
    (handle,) = axes.plot(*line(points, top), color=style.colour, linestyle=style.line,
                          marker=style.marker, linewidth=1.3)  # fmt: skip
    inside = [p for p in points if p.value <= top]
    bars = [
        ([p.classes] * 2, [p.low, p.high])
        for p in inside
        if p.low is not None and p.high is not None
    ]
    axes.plot(*broken(bars), color=style.colour, **palette.BAR)
    for marked, options in (
        ([p for p in points if p.value > top], {**_ABOVE, "color": style.colour}),
        ([p for p in inside if p.record.noisy], palette.NOISY),
        ([p for p in inside if struck(p.record)], palette.STRUCK),
    ):
        if marked:
            axes.plot(*line(marked, top), **options)
    return handle


def draw_limit(axes: Any, points: Sequence[Point], dashes: Sequence[float], **options: Any) -> Any:
    """The line of a limit, in grey."""
    (handle,) = axes.plot(
        *line(points), color=palette.LIMIT, linewidth=1.0, dashes=dashes, **options
    )
    return handle


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
