"""The Pareto plot: accuracy against throughput, and who is beaten in neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from harness.records import AccuracyRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import LogScale, Plot, grid, log_scale
from harness.report.drawing.formatting import figure, interval
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Kind, Table, missing, number, texts, words
from harness.report.run_data import RunData, worst_error
from harness.report.timing_selection import headline, headline_record, struck, why_untimed


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
    """Two panels over the headline throughput: worst error of the run, and on the timed input."""
    title = "Accuracy against throughput"
    point = headline(run)
    rows = []
    panels_data: list[dict[str, tuple[float, float]]] = [{}, {}]
    intervals: dict[str, tuple[float, float]] = {}
    out: set[str] = set()
    dtype = point.group.dtype if point else None
    for name in run.implementations:
        c, here = headline_record(run, name)
        mine = run.select(AccuracyRecord, implementation=name, operation="softmax")
        mine = [a for a in mine if a.dtype == dtype]
        accuracy = worst_error(mine)
        speed_entry = missing(*why_untimed(run, name, here, dtype))
        gate_entry, state = speed_entry, "not drawn"
        if c is not None and c.gbps is not None:
            state = "struck out" if struck(c) else "ranked"
            kind: Kind = "struck" if struck(c) else ""
            speed_entry = number(c.gbps, kind=kind, detail=interval(c.gbps_low, c.gbps_high))
            if struck(c):
                out.add(name)
            if c.gbps_low is not None and c.gbps_high is not None:
                intervals[name] = c.gbps_low, c.gbps_high
            if accuracy is not None:
                panels_data[0][name] = c.gbps, accuracy[0]
            if c.gate_ulp is not None:
                panels_data[1][name] = c.gbps, c.gate_ulp
                gate_entry = number(c.gate_ulp)
            else:
                gate_entry = missing("not measured", "no gate figure was recorded")
        error_entry = (
            number(accuracy[0], detail=str(accuracy[1].workload))
            if accuracy is not None
            else missing(*run.why(name, mine, dtype, "softmax"))
        )  # fmt: skip
        rows.append([words(name), speed_entry, error_entry, gate_entry, words(state)])
    where = point.text if point else "no point"
    columns = [
        *texts("Implementation"), Column("Throughput", "GB/s"), Column("Worst error", "ulp"),
        Column("Error on the timed input", "ulp"), *texts("State"),
    ]  # fmt: skip
    table = Table(f"{stem}-table", f"{title}: {where}", columns, rows)
    if point is None or not any(panels_data):
        why = (
            ": no implementation has both a throughput and an error in this run; the table says "
            "why."
        )
        return Plot.nothing(stem, title, why, table)
    titles = ("worst over all accuracy cells", "on the timed input")
    used = [(data, text) for data, text in zip(panels_data, titles, strict=True) if data]
    fig, panels = grid(len(used), 2, 3.0, between=0.75, right=0.5)
    speeds = [speed for data, _ in used for speed, _ in data.values()]
    speeds += [v for pair in intervals.values() for v in pair]
    fronts = []
    for panel, (data, text) in zip(panels, used, strict=True):
        axes = panel.axes
        ranked = {n: xy for n, xy in data.items() if n not in out}
        front = frontier(ranked)
        fronts.append(front)
        errors = log_scale([e for _, e in data.values()], floor=0.5)
        _draw(axes, data, front, intervals, out, style, errors)
        log_scale(speeds).apply(axes.xaxis)
        errors.apply(axes.yaxis)
        panel.name(f"Largest error (ulp), {text}", "throughput (GB/s)")
        _names(axes, data, intervals, errors)
    absent = [r[0].text for r in rows if r[4].text == "not drawn"]
    caption = prose("pareto", where=f"{where[0].upper()}{where[1:]}", absent=", ".join(absent))
    alt = f"{title} for {where}: " + "; ".join(
        f"{n} {figure(s)} GB/s at {figure(e)} ulp" for n, (s, e) in used[0][0].items()
    )
    alt += f". Unbeaten: {', '.join(fronts[0]) or 'none'}."
    return Plot(stem, title, caption, alt, table, fig)


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
        y = errors.place(error)
        if name in intervals:
            axes.plot(intervals[name], [y, y], color=style[name].colour, **palette.BAR)
        axes.plot([speed], [y], color=style[name].colour, marker=style[name].marker, markersize=6)
        if name in out:
            axes.plot([speed], [y], **{**palette.STRUCK, "markersize": 9})


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
        axes.annotate(
            text, (data[name][0], errors.place(data[name][1])), xytext=(dx, dy),
            textcoords="offset points", ha=side, va="center", fontsize=7.5,
            annotation_clip=False, arrowprops=leader if abs(dy) > 12 else None,
        )  # fmt: skip
