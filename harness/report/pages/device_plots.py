"""Figures of timings on a device: bandwidth, or the time of one row, against the class count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import DeviceThroughputRecord
from harness.report.chosen import chosen
from harness.report.drawing.figure import Plot, grid
from harness.report.drawing.formatting import figure
from harness.report.drawing.prose import prose
from harness.report.drawing.style import Style
from harness.report.pages.device import TITLES, DeviceGroup, points, records_of, title
from harness.report.pages.timing_curves import Point, best_of, draw, points_of
from harness.report.run_data import RunData, absent_text, class_counts, of
from harness.report.timing_selection import has_time, preferred


def _curves(
    records: Sequence[DeviceThroughputRecord], group: DeviceGroup
) -> dict[str, list[Point]]:
    found = sorted(filter(has_time, records), key=lambda c: c.classes or 0)
    names = sorted({c.implementation for c in found})
    of_each = {n: of(found, n) for n in names}
    return {
        n: points_of(
            [c for k in class_counts(cs) if (c := preferred(d for d in cs if d.classes == k))],
            latency=group.latency,
        )
        for n, cs in of_each.items()
    }


def by_classes(run: RunData, group: DeviceGroup, style: Mapping[str, Style]) -> Plot | None:
    """Beyond L2 the bandwidth of everyone and of the limits; of one row the time of a call.

    None where nothing has a time.
    """
    records = records_of(run, group)
    own = [c for c in records if c.role == "implementation"]
    curves = _curves(own, group)
    limits = _curves([c for c in records if c.role == "limit"], group)
    if not any(curves.values()):
        return None
    fig, (panel,) = grid(1, 1, 3.2, right=2.1)
    unit = "µs" if group.latency else "GB/s"
    named = {f"limit: {name}": found for name, found in limits.items()}
    order = {n: curves[n] for n in run.implementations if curves.get(n)}
    draw(panel, order, named, style, chosen(run), unit)
    panel.axes.set_title("time of a call (µs), less is better" if group.latency else "GB/s")
    tried = {c.implementation for c in own}
    absent = run.absent(own, lambda c: c.time_ns, group.dtype, group.operation)
    caption = prose(
        "device", latency=group.latency,
        absent=absent_text({n: why for n, why in absent.items() if n in tried}),
    )  # fmt: skip
    text = f"{TITLES[group.regime]} against class count, {group.operation}, {group.dtype}."
    best = best_of((p for found in curves.values() for p in found), latency=group.latency)
    text += f" {best[:1].upper()}{best[1:]}." if best else ""
    moved = [p.value for found in limits.values() for p in found]
    if moved:
        text += f" Limits between {figure(min(moved))} and {figure(max(moved))} {unit}."
    return Plot(f"device-{group.key}", title(group), caption, text, points(run, group), fig)
