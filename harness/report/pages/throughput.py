"""Figures of the throughput experiment: curves against class count, with the copy limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Plot,
    class_axis,
    grid,
    log_scale,
    note_inside,
    side_legend,
    wrapped,
)
from harness.report.drawing.formatting import figure, integer
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.pages.throughput_tables import points_table
from harness.report.run_data import REGIMES, Cell, RunData, absent_text, of
from harness.report.timing_selection import Group, curve, has_time, limits, rejected, struck, timed

LIMIT_DASHES = ((5.0, 2.0), (1.2, 1.4), (7.0, 2.0, 1.2, 2.0))


_OF_PROCESSES = " Several processes shared the rounds; intervals are Student's over those."


def quantity(cell: Cell, regime: str) -> tuple[float, float | None, float | None]:
    """What a panel shows: microseconds for single rows, else GB/s; with its interval."""
    if regime == "latency":
        low, high = cell.get("ci_low_ns"), cell.get("ci_high_ns")
        return (cell["median_ns"] / 1e3, None if low is None else low / 1e3,
                None if high is None else high / 1e3)  # fmt: skip
    return cell["gbps"], cell.get("gbps_low"), cell.get("gbps_high")


def _limit_label(name: str) -> str:
    return f"copy: {name.removeprefix('copy_')}"


def _drawable(cells: Sequence[Cell], regime: str) -> list[Cell]:
    return [c for c in cells if regime == "latency" or c.get("gbps") is not None]


def draw_curve(axes: Any, points: Sequence[Cell], regime: str, style: Style, width: float) -> Any:
    """Median with interval; hollow where noisy, crossed out where the gate struck it out."""
    xs = [c["classes"] for c in points]
    values = [quantity(c, regime) for c in points]
    (handle,) = axes.plot(xs, [v for v, _, _ in values], color=style.colour,
                          linestyle=style.line, marker=style.marker, linewidth=width)  # fmt: skip
    for x, (_, low, high) in zip(xs, values, strict=True):
        if low is not None and high is not None:
            axes.plot([x, x], [low, high], color=style.colour, linewidth=2.4, alpha=0.45,
                      solid_capstyle="butt")  # fmt: skip
    for mask, options in (
        ([c.get("noisy") for c in points],
         {"marker": "o", "markersize": 8.0, "markerfacecolor": "none",
          "markeredgecolor": palette.MUTED, "markeredgewidth": 0.8}),
        ([struck(c) for c in points],
         {"marker": "x", "markersize": 8.0, "markeredgecolor": palette.ALERT,
          "markeredgewidth": 1.4}),
    ):  # fmt: skip
        xy = [(x, v[0]) for x, v, m in zip(xs, values, mask, strict=True) if m]
        if xy:
            axes.plot([x for x, _ in xy], [y for _, y in xy], linestyle="none", **options)
    return handle


def by_classes(
    run: RunData,
    group: Group,
    style: Mapping[str, Style],
    stem: str,
    only: str | None = None,
) -> Plot:
    """A panel a regime: GB/s (latency: time) against class count, with the copy limits.

    Args:
        only: draw this implementation in its colour, the others in grey (its own page).
    """
    cells = timed(run, group)
    title = f"Throughput against class count, {group.title}"
    names = run.implementations
    table = points_table(run, group, f"{stem}-table", only)
    regimes = [r for r in REGIMES if any(curve(cells, r))]
    if not regimes or (only and not any(map(has_time, of(cells, only)))):
        who = [only] if only else names
        reasons = [
            "{} {} ({})".format(n, *run.why(n, of(cells, n), dtype=group.dtype)) for n in who
        ]
        return Plot(stem, title, f"Nothing to draw: {'; '.join(reasons)}.", "", table, None)
    fig, panels = grid(len(regimes), 3, 2.7 if only is None else 2.2, right=1.85, between=0.5)
    handles: dict[str, Any] = {}
    for axes, regime in zip(panels, regimes, strict=True):
        curves = {n: _drawable(curve(of(cells, n), regime), regime) for n in names}
        lines = {n: _drawable(c, regime) for n, c in limits(run, group, regime).items()}
        shown = [c for cs in (*curves.values(), *lines.values()) for c in cs]
        for name, points in curves.items():
            if points and only not in (None, name):
                axes.plot([c["classes"] for c in points],
                          [quantity(c, regime)[0] for c in points],
                          color=palette.CONTEXT, linewidth=0.7)  # fmt: skip
        for k, (name, points) in enumerate(lines.items()):
            if points:
                (handles[_limit_label(name)],) = axes.plot(
                    [c["classes"] for c in points], [quantity(c, regime)[0] for c in points],
                    color=palette.LIMIT, linewidth=1.0,
                    dashes=LIMIT_DASHES[k % len(LIMIT_DASHES)],
                )  # fmt: skip
        for name, points in curves.items():
            if points and only in (None, name):
                handles[name] = draw_curve(axes, points, regime, style[name], 1.3)
        if only and not curves[only]:
            mine = [c for c in of(cells, only) if c.get("regime") == regime]
            status, reason = rejected(mine) or run.why(only, mine, dtype=group.dtype)
            note_inside(axes, wrapped(f"{status}: {label(reason, 120)}", 34, 4))
        values = [v for c in shown for v in quantity(c, regime) if v is not None]
        log_scale(values).apply(axes.yaxis)
        class_axis(axes, sorted({c["classes"] for c in shown if c.get("classes")}))
        axes.set_title(f"{regime} — " + ("time of a call (µs)" if regime == "latency" else "GB/s"))
        axes.set_xlabel("classes")
    copies = [n for n in handles if n.startswith("copy: ")]
    side_legend(fig, handles, [*names, *copies], 1.77, 24)
    drawable = [c for c in cells if only in (None, c["implementation"]) and has_time(c)]
    missing_here = run.absent(drawable, "median_ns", dtype=group.dtype) if only is None else {}
    caption = (
        f"Workload {group.workload}. Median of the rounds; vertical bars are 95% bootstrap "
        "intervals. One read and one write of the array are counted, whatever the implementation "
        "does. Dashed grey lines: measured copies of as many bytes. Latency is the time of one "
        "row: lower is better. A grey ring marks a point whose control was noisy, a cross one that "
        "failed the accuracy gate. Calls write into a preallocated result where out= is offered."
        + (_OF_PROCESSES if any(c.get("processes") for c in drawable) else "")
        + absent_text(missing_here)
    )
    return Plot(stem, title, caption, _alt(run, group, title, regimes, only), table, fig)


def _alt(run: RunData, group: Group, title: str, regimes: Sequence[str], only: str | None) -> str:
    cells = [c for c in timed(run, group) if only in (None, c["implementation"])]
    text = f"{title}; regimes {', '.join(regimes)}."
    for regime in regimes:
        points = [
            c for n in run.implementations for c in curve(of(cells, n), regime) if not struck(c)
        ]
        points = _drawable(points, regime)
        if not points:
            continue
        pick = min if regime == "latency" else max
        best = pick(points, key=lambda c: quantity(c, regime)[0])
        amount = quantity(best, regime)[0]
        unit = "µs" if regime == "latency" else "GB/s"
        what = "shortest" if regime == "latency" else "highest"
        text += (
            f" {regime.capitalize()}: {what} {figure(amount)} {unit} ({best['implementation']}, "
            f"{integer(best['classes'])} classes)."
        )
    return text
