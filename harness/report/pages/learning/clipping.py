"""Disturbed trainings, and what clipping does for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from harness.records import TrainingRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Plot,
    grid,
    log_scale,
)
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.tables import Column, Entry, Table, number, texts, words
from harness.report.pages.learning.common import COLOURS, mean_entry, setting_of
from harness.report.pages.strips import plot_of
from harness.report.run_data import RunData, known

CLIPS: Mapping[str, str] = {
    "none": "not clipped", "elements": "elements before the step", "norm": "norm before the step",
    "after": "elements after the step",
}  # fmt: skip


def _way(c: TrainingRecord) -> str:
    s = setting_of(c)
    return CLIPS[s.clip] + ("" if s.clip == "none" else f", {s.limit:g}")


def _disturbance(c: TrainingRecord) -> str:
    s = setting_of(c)
    return f"logits × {figure(s.scale)}" if s.scale != 1 else f"one step × {integer(int(s.spike))}"


def told(run: RunData, records: Sequence[TrainingRecord]) -> str:
    pairs: dict[tuple[str, int | None], list[str | None]] = defaultdict(list)
    shares: dict[str, list[bool]] = defaultdict(list)
    for c in records:
        shares[_way(c)].append(c.came_through)
        if setting_of(c).clip in ("none", "after"):
            pairs[_disturbance(c), c.seed].append(c.weights)
    both = [found for found in pairs.values() if len(found) == 2]
    same = sum(one == other for one, other in both)
    parts = [f"{way} {sum(s)} of {len(s)}" for way, s in shares.items()]
    return (
        f"Networks that came through: {'; '.join(parts)}. Clipping after the step gave the same "
        f"weights as none, to the last bit, in {same} of {plural(len(both), 'pair')}."
    )


def plot(run: RunData, records: Sequence[TrainingRecord], told: str, table: Table) -> Plot:
    fig, (panel,) = grid(1, 1, 2.3, right=1.9)
    ways = list(dict.fromkeys(_way(c) for c in records))
    markers = ("o", "s", "^", "D", "x")
    values = [c.spike_ratio for c in records if c.spike_ratio]
    if values:
        log_scale([*values, 1.0]).apply(panel.axes.xaxis)
    for k, (way, colour) in enumerate(zip(ways, COLOURS, strict=False)):
        here = [c for c in records if _way(c) == way and c.spike_ratio and c.accuracy is not None]
        means: dict[float, list[TrainingRecord]] = defaultdict(list)
        for c in here:
            means[setting_of(c).spike].append(c)
        at = [
            (
                fmean(known(c.spike_ratio) for c in found),
                100 * fmean(known(c.accuracy) for c in found),
            )
            for found in means.values()
        ]
        if at:
            panel.axes.plot(*zip(*at, strict=True), color=colour, marker=markers[k], markersize=5,
                            linewidth=1.0 if k else 1.8)  # fmt: skip
            panel.axes.annotate(way, (1.01, 0.92 - 0.12 * k), xycoords="axes fraction",
                                fontsize=7.5, color=palette.INK)  # fmt: skip
            panel.axes.plot(
                [1.0], [0.94 - 0.12 * k], marker=markers[k], color=colour, markersize=5,
                transform=panel.axes.transAxes, clip_on=False,
            )  # fmt: skip
    panel.axes.axvline(1.0, color=palette.LIMIT, linewidth=1.0, dashes=(5, 2))
    panel.axes.set_ylim(0, 100)
    panel.name("", "length of the step, in units of π/Δ", "% of held-out digits at the end")
    return plot_of("training-clipping", told, "training_clipping", table, fig)


def table(run: RunData, records: Sequence[TrainingRecord]) -> Table:
    groups: dict[tuple[str, str], list[TrainingRecord]] = defaultdict(list)
    for c in records:
        groups[_disturbance(c), _way(c)].append(c)
    rows = []
    for (what, way), found in groups.items():
        ratios = [c.spike_ratio for c in found if c.spike_ratio is not None]
        through = sum(c.came_through for c in found)
        before = [c.accuracy_before for c in found if c.accuracy_before is not None]
        rows.append([
            words(what), words(way), number(fmean(ratios)) if ratios else words("–"),
            mean_entry(before, 100), mean_entry([c.accuracy or 0.0 for c in found], 100),
            Entry(f"{through} of {len(found)}", through),
        ])  # fmt: skip
    columns = [
        *texts("Disturbance", "Gradient"), Column("Step", "π/Δ"),
        Column("Accuracy before", "%"), Column("Accuracy at the end", "%"),
        Column("Came through", "networks"),
    ]  # fmt: skip
    return Table("training-clipping", "Disturbed trainings, and what clipping does for them",
                 columns, rows)  # fmt: skip
