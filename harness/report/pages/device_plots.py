"""Figures of timings on a device: bandwidth, or the time of one row, against the class count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.report.drawing import style as palette
from harness.report.drawing.figure import Plot, class_axis, grid, log_scale, side_legend
from harness.report.drawing.formatting import figure, integer
from harness.report.drawing.style import Style
from harness.report.pages.device import TITLES, Group, cells_of, points, title
from harness.report.pages.throughput import LIMIT_DASHES, draw_curve, quantity
from harness.report.run_data import Cell, RunData, absent_text, of
from harness.report.timing_selection import has_time, struck


def _curve(cells: list[Cell], name: str) -> list[Cell]:
    return sorted(filter(has_time, of(cells, name)), key=lambda c: int(c["classes"]))


def by_classes(run: RunData, group: Group, style: Mapping[str, Style]) -> Plot | None:
    """Beyond L2 the bandwidth of everyone and of the limits; of one row the time of a call.

    None where nothing has a time.
    """
    cells = cells_of(run, group)
    kind = "streaming" if group.regime == "streaming" else "latency"
    roles = {str(c["implementation"]): str(c.get("role") or "implementation") for c in cells}
    curves = {n: _curve(cells, n) for n, role in roles.items() if role == "implementation"}
    limits = {n: _curve(cells, n) for n, role in roles.items() if role == "limit"}
    drawn = [c for found in (*curves.values(), *limits.values()) for c in found]
    if not any(curves.values()):
        return None
    fig, (axes,) = grid(1, 1, 3.2, right=2.1)
    handles: dict[str, Any] = {}
    for k, (name, found) in enumerate(sorted(limits.items())):
        if found:
            (handles[f"limit: {name}"],) = axes.plot(
                [c["classes"] for c in found], [quantity(c, kind)[0] for c in found],
                color=palette.LIMIT, linewidth=1.0, dashes=LIMIT_DASHES[k % len(LIMIT_DASHES)],
                marker="|", markersize=5.0,
            )  # fmt: skip
    for name in [n for n in run.implementations if curves.get(n)]:
        handles[name] = draw_curve(axes, curves[name], kind, style[name], 1.3)
    values = [v for c in drawn for v in quantity(c, kind) if v is not None]
    log_scale(values).apply(axes.yaxis)
    class_axis(axes, sorted({int(c["classes"]) for c in drawn}))
    axes.set_title("GB/s" if kind == "streaming" else "time of a call (µs)")
    axes.set_xlabel("classes")
    side_legend(fig, handles, sorted(handles, key=lambda n: n.startswith("limit: ")), 2.0, 26)
    own = [c for c in cells if roles[str(c["implementation"])] == "implementation"]
    here = [n for n in run.implementations if n in curves]
    absent = run.absent(own, "median_ns", dtype=group.dtype, operation=group.operation)
    caption = (
        "Median of the rounds; vertical bars are 95% bootstrap intervals. "
        + (
            "Each array that the operation has to read or write is counted once. Dashed grey "
            "lines: kernels of the same rounds that do nothing else. "
            if kind == "streaming"
            else "Lower is better. Dashed grey lines: copies of one row. "
        )
        + "A grey ring marks a point whose control was noisy, a cross one that was struck out."
        + absent_text({n: why for n, why in absent.items() if n in here})
    )
    return Plot(
        f"device-{group.key}", title(group), caption, _alt(group, curves, limits, kind),
        points(run, group), fig,
    )  # fmt: skip


def _alt(
    group: Group, curves: Mapping[str, list[Cell]], limits: Mapping[str, list[Cell]], kind: str
) -> str:
    text = f"{TITLES[group.regime]} against class count, {group.operation}, {group.dtype}."
    good = [c for found in curves.values() for c in found if not struck(c)]
    unit = "GB/s" if kind == "streaming" else "µs"
    if good:
        pick, what = (max, "highest") if kind == "streaming" else (min, "shortest")
        best = pick(good, key=lambda c: quantity(c, kind)[0])
        text += (
            f" {what.capitalize()}: {figure(quantity(best, kind)[0])} {unit} "
            f"({best['implementation']}, {integer(best['classes'])} classes)."
        )
    moved = [quantity(c, kind)[0] for found in limits.values() for c in found]
    if moved:
        text += f" Limits between {figure(min(moved))} and {figure(max(moved))} {unit}."
    return text
