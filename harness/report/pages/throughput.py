"""Figures of the throughput experiment: curves against class count, with the copy limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.records import ThroughputRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Plot,
    broken,
    class_axis,
    grid,
    log_scale,
    note_inside,
    side_legend,
)
from harness.report.drawing.prose import prose
from harness.report.drawing.style import Style
from harness.report.pages.throughput_tables import points_table
from harness.report.pages.timing_curves import (
    LIMIT_DASHES,
    Point,
    best_of,
    draw_curve,
    draw_limit,
    ends,
    line,
    points_of,
)
from harness.report.run_data import REGIMES, RunData, absent_text, of
from harness.report.timing_selection import Group, curve, has_time, limits, timed, why_untimed


def _points(records: Sequence[ThroughputRecord], regime: str) -> list[Point]:
    return points_of(curve(records, regime), latency=regime == "latency")


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
    records = timed(run, group)
    title = f"Throughput against class count, {group.title}"
    names = run.implementations
    table = points_table(run, group, f"{stem}-table", only)
    regimes = [r for r in REGIMES if any(curve(records, r))]
    if not regimes or (only and not any(map(has_time, of(records, only)))):
        who = [only] if only else names
        reasons = ["{} {} ({})".format(n, *run.why(n, of(records, n), group.dtype)) for n in who]
        return Plot.nothing(stem, title, f": {'; '.join(reasons)}.", table)
    fig, panels = grid(len(regimes), 3, 2.7 if only is None else 2.2, right=1.85, between=0.5)
    handles: dict[str, Any] = {}
    best = []
    for panel, regime in zip(panels, regimes, strict=True):
        axes, latency = panel.axes, regime == "latency"
        curves = {n: _points(of(records, n), regime) for n in names}
        lines = {
            f"copy: {n.removeprefix('copy_')}": points_of(cs, latency=latency)
            for n, cs in limits(run, group, regime).items()
        }
        others = [line(points) for n, points in curves.items() if only not in (None, n)]
        axes.plot(*broken(others), **palette.BEHIND)
        for k, (name, points) in enumerate(lines.items()):
            if points:
                handles[name] = draw_limit(axes, points, LIMIT_DASHES[k % len(LIMIT_DASHES)])
        for name, points in curves.items():
            if points and only in (None, name):
                handles[name] = draw_curve(axes, points, style[name])
        if only and not curves[only]:
            mine = [c for c in of(records, only) if c.regime == regime]
            note_inside(axes, why_untimed(run, only, mine, group.dtype), 34)
        own = [p for n in names if only in (None, n) for p in curves[n]]
        if told := best_of(own, latency=latency):
            best.append(f" {regime.capitalize()}: {told}.")
        shown = [p for points in (*curves.values(), *lines.values()) for p in points]
        log_scale(ends(shown)).apply(axes.yaxis)
        class_axis(axes, sorted({p.classes for p in shown}))
        unit = "time of a call (µs)" if latency else "GB/s"
        panel.name(f"{regime} — {unit}", "classes")
    copies = [n for n in handles if n.startswith("copy: ")]
    side_legend(fig, handles, [*names, *copies], 1.77, 24)
    drawable = [c for c in records if only in (None, c.implementation) and has_time(c)]
    absent = run.absent(drawable, lambda c: c.time_ns, group.dtype) if only is None else {}
    caption = prose(
        "throughput", workload=group.workload, processes=any(c.processes for c in drawable),
        absent=absent_text(absent),
    )  # fmt: skip
    alt = f"{title}; regimes {', '.join(regimes)}.{''.join(best)}"
    return Plot(stem, title, caption, alt, table, fig)
