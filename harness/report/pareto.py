"""The Pareto plot: accuracy against throughput, and who is beaten in neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report import palette
from harness.report.cells import RunData, worst
from harness.report.figure import LogScale, Plot, grid, log_scale
from harness.report.names import label
from harness.report.numbers import figure, integer, interval
from harness.report.palette import Style
from harness.report.tables import Column, Entry, Table, missing, words
from harness.report.timings import headline, headline_cell, rejected, struck


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
    for name in run.implementations:
        cell, here = headline_cell(run, name)
        dtype = point.group.dtype if point else None
        mine = run.select("accuracy", implementation=name, dtype=dtype, operation="softmax")
        accuracy = worst(mine, "max_ulp")
        speed_entry = missing(*(rejected(here) or run.why(name, here, dtype=dtype)))
        gate_entry, state = speed_entry, "not drawn"
        if cell is not None and cell.get("gbps") is not None:
            speed = float(cell["gbps"])
            speed_entry = Entry(figure(speed), speed, "struck" if struck(cell) else "",
                                detail=interval(cell.get("gbps_low"), cell.get("gbps_high")))  # fmt: skip
            state = "struck out" if struck(cell) else "ranked"
            if struck(cell):
                out.add(name)
            if cell.get("gbps_low") is not None and cell.get("gbps_high") is not None:
                intervals[name] = cell["gbps_low"], cell["gbps_high"]
            if accuracy is not None:
                panels_data[0][name] = speed, float(accuracy["max_ulp"])
            gate = cell.get("gate_ulp")
            if gate is not None:
                panels_data[1][name] = speed, float(gate)
                gate_entry = Entry(figure(gate), gate)
            else:
                gate_entry = missing("not measured", "no gate figure was recorded")
        error_entry = (
            Entry(figure(accuracy["max_ulp"]), accuracy["max_ulp"],
                  detail=str(accuracy.get("workload")))
            if accuracy is not None
            else missing(*run.why(name, mine, dtype=dtype, operation="softmax"))
        )  # fmt: skip
        rows.append([words(name), speed_entry, error_entry, gate_entry, words(state)])
    where = (
        f"{point.group.title}, {point.regime}, n = {integer(point.classes)}" if point else "no point"
    )
    columns = [
        Column("Implementation", numeric=False), Column("Throughput", "GB/s"),
        Column("Worst error", "ulp"), Column("Error on the timed input", "ulp"),
        Column("State", numeric=False),
    ]  # fmt: skip
    table = Table(f"{stem}-table", f"{title}: {where}", columns, rows)
    if point is None or not any(panels_data):
        return Plot(stem, title, "Nothing to draw: no implementation has both a throughput and an "
                    "error in this run; the table says why.", "", table, None)  # fmt: skip
    used = [
        (data, text)
        for data, text in zip(
            panels_data, ("worst over all accuracy cells", "on the timed input"), strict=True
        )
        if data
    ]
    fig, panels = grid(len(used), 2, 3.0, between=0.75, right=0.5)
    speeds = [v for data, _ in used for s, _ in data.values() for v in (s,)]
    speeds += [v for pair in intervals.values() for v in pair]
    fronts = []
    for axes, (data, text) in zip(panels, used, strict=True):
        ranked = {n: xy for n, xy in data.items() if n not in out}
        front = frontier(ranked)
        fronts.append(front)
        errors = log_scale([e for _, e in data.values()], floor=0.5)
        _draw(axes, data, front, intervals, out, style, errors)
        log_scale(speeds).apply(axes.xaxis)
        errors.apply(axes.yaxis)
        axes.set_title(f"Largest error (ulp), {text}")
        axes.set_xlabel("throughput (GB/s)")
        _names(axes, data)
    absent = [r[0].text for r in rows if r[4].text == "not drawn"]
    caption = (
        f"{where[0].upper()}{where[1:]}. Right and down is better; the grey steps join those that "
        "nobody beats in both. Crosses failed the accuracy gate and are not ranked. Horizontal "
        "bars: 95% intervals. The left panel takes the worst of every workload of the run, hard "
        "ones included; the right one the rows that were timed."
    )
    if absent:
        caption += f" Not drawn: {', '.join(absent)} (reasons in the table)."
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
            axes.plot(intervals[name], [y, y], color=style[name].colour, linewidth=2.4, alpha=0.45,
                      solid_capstyle="butt")  # fmt: skip
        axes.plot([speed], [y], color=style[name].colour, marker=style[name].marker, markersize=6)
        if name in out:
            axes.plot([speed], [y], marker="x", markersize=9, markeredgecolor=palette.ALERT,
                      markeredgewidth=1.4)  # fmt: skip


def _names(axes: Any, data: Mapping[str, tuple[float, float]]) -> None:
    """Direct labels: beside each point, moved up or down until no two of them overlap."""
    figure_ = axes.figure
    to_points = axes.transData.transform
    box = axes.get_window_extent()
    low, high = axes.get_ylim()
    taken: list[tuple[float, float, float]] = []
    dots = []
    scale = 72.0 / figure_.dpi
    for name, (speed, error) in data.items():
        y_value = error if low < error < high else (high if error > 1 else low)
        x, y = to_points((speed, y_value))
        dots.append((x * scale, y * scale, name, speed, error))
    right_edge = box.x1 * scale
    for x, y, name, speed, error in sorted(dots, key=lambda d: (d[1], d[0])):
        text = label(name, 20)
        width = 4.6 * len(text) + 8
        leftward = x + width > right_edge + 30
        start = x - width if leftward else x + 6
        at = y
        while any(
            abs(at - ty) < 9.5 and start < tx + tw and tx < start + width for tx, ty, tw in taken
        ):
            at += 2.0
        taken.append((start, at, width))
        y_place = _place(axes, error)
        axes.annotate(
            text, (speed, y_place), xytext=(-7 if leftward else 7, at - y),
            textcoords="offset points", ha="right" if leftward else "left", va="center",
            fontsize=7.5, annotation_clip=False,
        )  # fmt: skip


def _place(axes: Any, error: float) -> float:
    low, high = axes.get_ylim()
    ticks = axes.get_yticks()
    if low < error < high:
        return error
    return float(ticks[-1] if error > 1 else ticks[0])
