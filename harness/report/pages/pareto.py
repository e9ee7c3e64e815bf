"""The Pareto plot: accuracy against throughput, and who is beaten in neither."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from harness.records import AccuracyRecord, ThroughputRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import LogScale, Plot, grid, log_scale
from harness.report.drawing.formatting import figure, interval
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Column, Kind, Table, missing, number, texts, words
from harness.report.pages.timing_curves import Point, points_of
from harness.report.run_data import REGIMES, RunData, class_counts, known, of, worst_error
from harness.report.timing_selection import (
    Headline,
    at_point,
    groups,
    headline,
    headline_record,
    preferred,
    struck,
    timed,
    why_untimed,
)

_USUAL = "float32"
"""The format whose errors are told where nothing was timed."""


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names that no other point beats: (speed, error), more speed and less error are better.

    In order of rising speed. A point is beaten by one at least as good in both and better in one.
    """
    kept = []
    for name, (speed, error) in points.items():
        beaten = any(
            s >= speed and e <= error and (s > speed or e < error) for s, e in points.values()
        )
        if not beaten:
            kept.append(name)
    return sorted(kept, key=lambda n: points[n])


def pareto(run: RunData, style: Mapping[str, Style], stem: str) -> Plot:
    """The worst error of the run, or where there is none that on the timed rows, and the speed."""
    title = "Accuracy against throughput"
    point = headline(run)
    where = point.text if point else "no point"
    table = _table(run, f"{stem}-table", f"{title}: {where}", point)
    timings = {n: c for n in run.implementations if (c := headline_record(run, n)[0]) is not None}
    speeds = {n: known(c.gbps) for n, c in timings.items() if c.gbps is not None}
    worst = {n: found[0] for n in speeds if (found := _worst(run, n, point)) is not None}
    gates = {n: c.gate_ulp for n, c in timings.items() if n in speeds and c.gate_ulp is not None}
    errors, told = (worst, "worst of the run") if worst else (gates, "on the timed rows")
    if point is None or not errors:
        why = (
            ": no implementation has both a throughput and an error in this run; the table says "
            "why."
        )
        return Plot.nothing(stem, title, why, table)
    data = {n: (speeds[n], error) for n, error in errors.items()}
    intervals = {
        n: (c.gbps_low, c.gbps_high)
        for n in data
        if (c := timings[n]).gbps_low is not None and c.gbps_high is not None
    }
    out = {n for n in data if struck(timings[n])}
    front = frontier({n: at for n, at in data.items() if n not in out})
    heights = log_scale(list(errors.values()), floor=0.5)
    fig, (panel,) = grid(1, 1, 3.4, left=heights.margin, right=0.85, width=6.2)
    _draw(panel.axes, data, front, intervals, out, style, heights)
    log_scale([*speeds.values(), *(v for pair in intervals.values() for v in pair)]).apply(
        panel.axes.xaxis
    )
    heights.apply(panel.axes.yaxis)
    panel.name(f"Largest error (ulp), {told}", "throughput (GB/s)")
    _names(panel.axes, data, intervals, heights)
    caption = prose("pareto", where=f"{where[0].upper()}{where[1:]}")
    alt = f"{title} for {where}: " + "; ".join(
        f"{n} {figure(s)} GB/s at {figure(e)} ulp" for n, (s, e) in data.items()
    )
    alt += f". Unbeaten: {', '.join(front) or 'none'}."
    return Plot(stem, title, caption, alt, table, fig)


def _worst(run: RunData, name: str, point: Headline | None) -> tuple[float, AccuracyRecord] | None:
    """The largest error of an implementation in the format of the headline."""
    dtype = point.group.dtype if point else _USUAL
    found = run.select(AccuracyRecord, implementation=name, operation="softmax")
    return worst_error(c for c in found if c.dtype == dtype)


def _table(run: RunData, name: str, caption: str, point: Headline | None) -> Table:
    dtype = point.group.dtype if point else _USUAL
    rows = []
    for who in (n for n in run.implementations if (a := run.about(n)) is None or a.available):
        c, here = headline_record(run, who)
        speed = gate = missing(*why_untimed(run, who, here, dtype))
        state = "not drawn"
        if c is not None and c.gbps is not None:
            state = "struck out" if struck(c) else "ranked"
            kind: Kind = "struck" if struck(c) else ""
            speed = number(c.gbps, kind=kind, detail=interval(c.gbps_low, c.gbps_high))
            gate = missing("not measured", "no gate figure was recorded")
            if c.gate_ulp is not None:
                gate = number(c.gate_ulp)
        found = _worst(run, who, point)
        mine = run.select(AccuracyRecord, implementation=who, operation="softmax")
        error = (
            number(found[0], detail=str(found[1].workload))
            if found is not None
            else missing(*run.why(who, [c for c in mine if c.dtype == dtype], dtype, "softmax"))
        )
        rows.append([words(who), speed, error, gate, words(state)])
    columns = [
        *texts("Implementation"), Column("Throughput", "GB/s"), Column("Worst error", "ulp"),
        Column("Error on the timed rows", "ulp"), *texts("State"),
    ]  # fmt: skip
    return Table(name, caption, columns, rows)


def choices(run: RunData, style: Mapping[str, Style]) -> dict[str, Any]:
    """What the page's script draws the plot from, at every point that was timed.

    Returns:
        Plain data: ``names`` with their colours, ``errors`` (largest of the run by format and
        implementation, ``"inf"`` where not finite), and ``points``, each with format, threads,
        regime, class count and, by implementation, value, ends of the interval, ``"~"`` where it
        is undecided or ``"x"`` where it was struck out, and the error on the timed rows.
    """
    points = []
    for group in groups(run):
        if group.operation != "softmax":
            continue
        records = timed(run, group)
        for regime in REGIMES:
            here = [c for c in records if c.regime == regime]
            for n in class_counts(here):
                at = {
                    name: _plain(found[0])
                    for name in run.implementations
                    if (c := preferred(at_point(of(here, name), regime, n))) is not None
                    and (found := points_of([c], latency=regime == "latency"))
                }
                points.append({
                    "dtype": group.dtype, "threads": group.threads, "regime": regime, "classes": n,
                    "unit": "µs" if regime == "latency" else "GB/s", "at": at,
                })  # fmt: skip
    points = [p for p in points if p["at"]]
    errors: dict[str, dict[str, float | str | None]] = {str(p["dtype"]): {} for p in points}
    for dtype, worst in errors.items():
        for name in run.implementations:
            records_of = run.select(AccuracyRecord, implementation=name, operation="softmax")
            largest = worst_error(c for c in records_of if c.dtype == dtype)
            if largest is not None:
                worst[name] = _finite(largest[0])
    names = {n: palette.VARIABLES[style[n].colour] for n in run.implementations}
    return {"names": names, "errors": errors, "points": points}


def place(run: RunData) -> list[str]:
    """The point of the plot that the page shows first, as its script names points."""
    point = headline(run)
    if point is None:
        return []
    threads = "null" if point.group.threads is None else str(point.group.threads)
    return [str(point.group.dtype), point.regime, threads, str(point.classes)]


def _finite(x: float | None) -> float | str | None:
    """A number to four digits, or ``"inf"``: JSON has no word for what is not finite."""
    if x is None:
        return None
    return float(f"{x:.4g}") if math.isfinite(x) else "inf"


def _plain(p: Point) -> list[Any]:
    c = p.record
    flag = "x" if struck(c) else "~" if c.noisy else ""
    gate = c.gate_ulp if isinstance(c, ThroughputRecord) else None
    ends = (x if x is not None and math.isfinite(x) else None for x in (p.low, p.high))
    return [_finite(p.value), *map(_finite, ends), flag, _finite(gate)]


def _draw(
    axes: Any,
    data: Mapping[str, tuple[float, float]],
    front: Sequence[str],
    intervals: Mapping[str, tuple[float, float]],
    out: set[str],
    style: Mapping[str, Style],
    errors: LogScale,
) -> None:
    if len(front) > 1:
        axes.step([data[n][0] for n in front], [errors.place(data[n][1]) for n in front],
                  where="pre", color=palette.CONTEXT, linewidth=1.2)  # fmt: skip
    for name, (speed, error) in data.items():
        y, colour = errors.place(error), style[name].colour
        tip = f"{name}: {figure(speed)} GB/s, {figure(error)} ulp"
        marks = axes.plot([speed], [y], color=colour, marker=style[name].marker, markersize=6)
        if name in intervals:
            marks += axes.plot(intervals[name], [y, y], color=colour, **palette.BAR)
        if name in out:
            marks += axes.plot([speed], [y], **{**palette.STRUCK, "markersize": 9})
        for mark in marks:
            axes.figure.mark(mark, Series(name, colour, True, [tip]))


Box = tuple[float, float, float, float]
_SHIFTS = (0, 9, -9, 18, -18, 27, -27, 36, -36, 45, 54, 63)
"""Of a name up or down from its marker, in points, the best first."""


def _meets(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _names(
    axes: Any,
    data: Mapping[str, tuple[float, float]],
    intervals: Mapping[str, tuple[float, float]],
    errors: LogScale,
) -> None:
    """Direct labels: each at the nearest place that covers no marker, bar or other label."""
    scale = 72.0 / axes.figure.dpi  # everything below is in points

    def points(x: float, y: float) -> tuple[float, float]:
        px, py = axes.transData.transform((x, y))
        return float(px) * scale, float(py) * scale

    frame = axes.get_window_extent()
    left, right = float(frame.x0) * scale + 2, float(frame.x1) * scale + 30
    bottom, top = float(frame.y0) * scale, float(frame.y1) * scale
    dots = {n: points(s, errors.place(e)) for n, (s, e) in data.items()}
    taken: list[Box] = [(x - 4.5, y - 4.5, x + 4.5, y + 4.5) for x, y in dots.values()]
    for name, (low, high) in intervals.items():
        if name in data:
            y = errors.place(data[name][1])
            (x0, y0), (x1, _) = points(low, y), points(high, y)
            taken.append((x0, y0 - 1.5, x1, y0 + 1.5))
    for name in sorted(dots, key=lambda n: (dots[n][1], dots[n][0])):
        x, y = dots[name]
        text = label(name, 24)
        width = 4.5 * len(text)
        sides = (("left", 6.5, 0.0), ("right", -6.5, width), ("center", 0.0, width / 2))
        for dy, (side, dx, before) in product(_SHIFTS, sides):
            start = x + dx - before
            box = (start, y + dy - 4.2, start + width, y + dy + 4.2)
            inside = box[0] > left and box[2] < right and bottom < box[1] and box[3] < top
            on_it = side == "center" and dy == 0
            if inside and not on_it and not any(_meets(box, t) for t in taken):
                break
        else:
            side, dx, dy, box = "left", 6.5, 0, (x, y, x, y)
        taken.append(box)
        leader = {"arrowstyle": "-", "color": palette.CONTEXT, "linewidth": 0.6, "shrinkB": 3}
        axes.figure.mark(axes.annotate(
            text, (data[name][0], errors.place(data[name][1])), xytext=(dx, dy),
            textcoords="offset points", ha=side, va="center", fontsize=7.5,
            annotation_clip=False, arrowprops=leader if abs(dy) > 12 else None,
        ), Series(name, palette.INK, True))  # fmt: skip
