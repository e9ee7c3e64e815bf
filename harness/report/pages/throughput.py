"""Figures of the throughput experiment: speeds against class count, with the copy limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import ThroughputRecord
from harness.report.chosen import chosen
from harness.report.drawing.figure import Plot, grid
from harness.report.drawing.prose import prose
from harness.report.drawing.style import Style
from harness.report.pages.throughput_tables import points_table
from harness.report.pages.timing_curves import LABELS, Point, best_of, draw, points_of
from harness.report.run_data import REGIMES, RunData, absent_text, class_counts, of
from harness.report.timing_selection import Group, curve, has_time, limits, timed


def _points(records: Sequence[ThroughputRecord], regime: str) -> list[Point]:
    return points_of(curve(records, regime), latency=regime == "latency")


def by_classes(run: RunData, group: Group, style: Mapping[str, Style], stem: str) -> Plot:
    """A panel a regime: GB/s (latency: time) by class count, with the copy limits."""
    records = timed(run, group)
    title = f"Throughput, {group.title}"
    names = run.implementations
    table = points_table(run, group, f"{stem}-table")
    regimes = [r for r in REGIMES if any(curve(records, r))]
    if not regimes:
        reasons = ["{} {} ({})".format(n, *run.why(n, of(records, n), group.dtype)) for n in names]
        return Plot.nothing(stem, title, f": {'; '.join(reasons)}.", table)
    fig, panels = grid(len(regimes), 2, 2.7, right=LABELS, between=LABELS + 0.35)
    best = []
    for panel, regime in zip(panels, regimes, strict=True):
        latency = regime == "latency"
        unit = "µs" if latency else "GB/s"
        curves = {n: _points(of(records, n), regime) for n in names}
        copies = {
            f"copy, {n.removeprefix('copy_')}": points_of(cs, latency=latency)
            for n, cs in limits(run, group, regime).items()
        }
        draw(panel, curves, copies, style, chosen(run), unit)
        if told := best_of((p for points in curves.values() for p in points), latency=latency):
            best.append(f" {regime.capitalize()}: {told}.")
        told = "time of a call (µs), less is better" if latency else "GB/s"
        counts = class_counts(curve(records, regime))
        single = f", {counts[0]} classes" if len(counts) == 1 else ""
        panel.axes.set_title(f"{regime}{single}: {told}")
    drawable = [c for c in records if has_time(c)]
    absent = run.absent(drawable, lambda c: c.time_ns, group.dtype)
    caption = prose(
        "throughput", workload=group.workload, processes=any(c.processes for c in drawable),
        absent=absent_text(absent),
    )  # fmt: skip
    alt = f"{title}; regimes {', '.join(regimes)}.{''.join(best)}"
    return Plot(stem, title, caption, alt, table, fig)
