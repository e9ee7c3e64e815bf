"""Figures of the accuracy experiment: ulps against class count, and against the logits' scale."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.records import AccuracyRecord
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    LogScale,
    Panel,
    Plot,
    broken,
    class_axis,
    grid,
    log_scale,
    side_legend,
)
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.pages import published_bounds as published
from harness.report.pages.published_bounds import Curve, Point
from harness.report.run_data import RunData, absent_text, class_counts, measured, of, worst_error

HEADROOM = 1e4
_SCALE = re.compile(r"normal\(scale=([0-9.eE+-]+)\)")


def sweep_of(records: Sequence[AccuracyRecord]) -> tuple[str | None, list[AccuracyRecord]]:
    """The workload measured at the most class counts, and its records.

    Among equals the one with the most measured records.
    """
    points = Counter(w for w, _ in {(c.workload, c.classes) for c in records})
    volume = Counter(c.workload for c in measured(records))
    names = [w for w in points if w is not None]
    chosen = max(names, key=lambda w: (points[w], volume[w], w), default=None)
    return chosen, [c for c in records if c.workload == chosen]


def by_class(records: Sequence[AccuracyRecord]) -> list[Point]:
    """The largest error at each class count, in rising order."""
    found = ((n, worst_error(c for c in records if c.classes == n)) for n in class_counts(records))
    return [Point(n, *at) for n, at in found if at is not None]


def error_entry(run: RunData, name: str, records: Sequence[AccuracyRecord], dtype: str) -> Entry:
    """The largest error of some records of an implementation, or why there is none."""
    found = worst_error(records)
    if found is None:
        return missing(*run.why(name, records, dtype))
    ulp, record = found
    if record.status == "failed":
        return number(ulp, kind="bad", note=f"failed: {record.reason or ''}")
    return number(ulp)


def draw_panel(
    panel: Panel,
    title: str,
    curve: Curve,
    style: Style,
    scale: LogScale,
    others: Iterable[Curve],
    classes: Sequence[int],
) -> None:
    """One implementation's errors and bounds, over the errors of the others in grey."""
    axes = panel.axes

    def places(points: Curve) -> tuple[list[int], list[float]]:
        return [p.classes for p in points], [scale.place(p.ulp) for p in points]

    axes.plot(*broken(map(places, others)), **palette.BEHIND)
    top = scale.limits[1] ** 2
    published.draw(axes, curve, top)
    bound = [(n, min(c.bound_ulp, top)) for n, _, c in curve if c.bound_ulp is not None]
    if bound:
        axes.plot(*zip(*bound, strict=True), color=style.colour, linewidth=0.9,
                  dashes=published.OWN_DASHES)  # fmt: skip
    if curve:
        axes.plot(*places(curve), color=style.colour, marker=style.marker, linestyle=style.line)
    failed = [p for p in curve if p.record.status == "failed"]
    if failed:
        axes.plot(*places(failed), **palette.FAILED)
    scale.apply(axes.yaxis, labelled=panel.left)
    class_axis(axes, classes, labelled=panel.bottom)
    panel.name(title, "classes", "largest error (ulp)")


def error_scale(curves: Iterable[Curve]) -> LogScale:
    """The common scale of some curves: all errors, and bounds up to `HEADROOM` above them.

    A bound can be wider than anything that could be drawn to scale (10⁸⁰ ulp, or infinite): it
    then leaves its panel at the top.
    """
    points = [p for curve in curves for p in curve]
    errors = [p.ulp for p in points]
    ceiling = HEADROOM * max((e for e in errors if math.isfinite(e)), default=1.0)
    wide = [p.record.bound_ulp for p in points if p.record.bound_ulp is not None]
    wide += [found[1] for p in points if (found := published.applying(p.record))]
    return log_scale([*errors, *(min(b, ceiling) for b in wide)], floor=0.5)


def curve_table(
    run: RunData,
    name: str,
    caption: str,
    records_of: Mapping[str, Sequence[AccuracyRecord]],
    classes: Sequence[int],
    dtype: str,
) -> Table:
    """Implementation × class count: the largest error, its bounds on quieter lines below.

    The bounds have columns of their own in the CSV.
    """
    rows = []
    unshown: dict[str, list[Any]] = {}
    for implementation, records in records_of.items():
        row, theorems = [words(implementation)], []
        for n in classes:
            here = [c for c in records if c.classes == n]
            found = worst_error(here)
            record = found[1] if found else None
            bound = record.bound_ulp if record else None
            size, theorem = published.entries(record)
            lines = [f"bound: {figure(bound)}"] if bound is not None else []
            if size.text:
                lines.append(f"{theorem.text}: {size.text}")
                theorems.append(theorem.text)
            entry = error_entry(run, implementation, here, dtype)
            row.append(replace(entry, detail="\n".join(lines)))
            at = f"n = {integer(n)}"
            unshown.setdefault(f"{at} bound ulp", []).append(bound)
            unshown.setdefault(f"{at} published bound ulp", []).append(size.raw)
        unshown.setdefault("published bound", []).append(", ".join(dict.fromkeys(theorems)))
        rows.append(row)
    columns = texts("Implementation")
    columns += [Column(f"n = {integer(n)}", "ulp") for n in classes]
    return Table(name, caption, columns, rows, [prose("curve_table")], unshown)


def ulp_by_classes(
    run: RunData, dtype: str, operation: str, style: Mapping[str, Style], stem: str
) -> Plot:
    """Small multiples, one panel an implementation: largest error and bound against classes."""
    workload, sweep = sweep_of(run.select(AccuracyRecord, dtype=dtype, operation=operation))
    classes = class_counts(sweep)
    found = {i: of(sweep, i) for i in run.implementations}
    curves = {i: by_class(records) for i, records in found.items()}
    title = f"Largest error against class count, {dtype}"
    caption_text = f"Largest error in ulps of {dtype}, workload {workload}"
    table = curve_table(run, f"{stem}-table", caption_text, found, classes, dtype)
    drawn = [i for i in run.implementations if curves[i]]
    absent = absent_text(run.absent(sweep, lambda c: c.max_ulp, dtype, operation))
    if not drawn:
        return Plot.nothing(stem, title, f".{absent}", table)
    scale = error_scale(curves.values())
    fig, panels = grid(len(drawn), 5, 1.45, left=scale.margin, between=0.16, foot=published.LEGEND)
    for name, panel in zip(drawn, panels, strict=True):
        others = [curves[i] for i in drawn if i != name]
        draw_panel(panel, label(name), curves[name], style[name], scale, others, classes)
    published.add_legend(fig, curves.values())
    caption = prose(
        "ulp_by_classes", workload=workload, published=published.said(curves), absent=absent
    )
    return Plot(stem, title, caption, _alt(title, curves, classes), table, fig)


def _alt(title: str, curves: Mapping[str, Curve], classes: Sequence[int]) -> str:
    drawn = {i: curve for i, curve in curves.items() if curve}
    text = f"{title}: {plural(len(drawn), 'implementation')}"
    text += f", {integer(classes[0])} to {integer(classes[-1])} classes."
    last = {i: curve[-1].ulp for i, curve in drawn.items() if curve[-1].classes == classes[-1]}
    if last:
        low, high = min(last, key=lambda i: last[i]), max(last, key=lambda i: last[i])
        text += (
            f" At {integer(classes[-1])} classes the largest errors reach from "
            f"{in_words(last[low])} ({low}) to {in_words(last[high])} ({high})."
        )
    ratios = {
        i: [r for p in curve if (r := p.record.error_over_bound) is not None]
        for i, curve in drawn.items()
    }
    above = [i for i, found in ratios.items() if any(r > 1 for r in found)]
    if above:
        text += f" Above its bound: {', '.join(above)}."
    elif any(ratios.values()):
        text += " No error lies above the bound that judges it."
    return text + published.shortly(curves.values())


def in_words(ulp: float) -> str:
    """An error with its unit, or that there is none."""
    return f"{figure(ulp)} ulp" if math.isfinite(ulp) else "not finite"


def scale_of(workload: str | None) -> float | None:
    """The standard deviation in a workload id such as ``normal(scale=10)``; None for any other.

    Other families have a scale too, and more besides (an offset, a mask): a curve through all of
    them would show the difference between families as one between scales.
    """
    found = _SCALE.fullmatch(workload or "")
    try:
        scale = float(found[1]) if found else 0.0
    except ValueError:
        return None
    return scale if 0 < scale < math.inf else None


Scales = Mapping[float, Sequence[AccuracyRecord]]
"""The records of one class count by the scale of their logits, rising."""


def _scaled(run: RunData, operation: str) -> dict[str, tuple[int, Scales]]:
    """By dtype, the class count measured at the most scales of the logits, and its records."""
    chosen: dict[str, tuple[int, Scales]] = {}
    for dtype in run.dtypes(AccuracyRecord):
        at: dict[int, dict[float, list[AccuracyRecord]]] = {}
        for c in run.select(AccuracyRecord, dtype=dtype, operation=operation):
            scale = scale_of(c.workload)
            if scale is not None and c.classes:
                at.setdefault(c.classes, {}).setdefault(scale, []).append(c)
        n = max(at, key=lambda n: (len(at[n]), n), default=0)
        if n and len(at[n]) > 1:
            chosen[dtype] = n, {scale: at[n][scale] for scale in sorted(at[n])}
    return chosen


def _scale_table(
    run: RunData, chosen: Mapping[str, tuple[int, Scales]], name: str, caption: str
) -> Table:
    columns = [
        *texts("Implementation", "dtype", "Workload"), Column("Classes"),
        Column("Largest error", "ulp"), Column("Bound", "ulp"), *published.COLUMNS,
    ]  # fmt: skip
    rows = []
    for dtype, (n, scales) in chosen.items():
        for implementation in run.implementations:
            for records in scales.values():
                here = of(records, implementation)
                found = worst_error(here)
                bound = found[1].bound_ulp if found else None
                rows.append([
                    words(implementation), words(dtype), words(records[0].workload), count(n),
                    error_entry(run, implementation, here, dtype),
                    words("none", kind="quiet") if bound is None else number(bound, kind="quiet"),
                    *published.entries(found[1] if found else None),
                ])  # fmt: skip
    return Table(name, caption, columns, rows)


def ulp_by_scale(run: RunData, operation: str, style: Mapping[str, Style], stem: str) -> Plot:
    """A panel a dtype: largest error against the scale of the logits at one class count."""
    title = "Largest error against the scale of the logits"
    chosen = _scaled(run, operation)
    table = _scale_table(run, chosen, f"{stem}-table", title)
    if not chosen:
        why = ": no dtype was measured at two scales of one class count."
        return Plot.nothing(stem, title, why, table)
    everything = [c for _, scales in chosen.values() for cs in scales.values() for c in cs]
    scale = log_scale([c.max_ulp for c in measured(everything) if c.max_ulp is not None], floor=0.5)
    fig, panels = grid(len(chosen), 4, 2.1, left=scale.margin, right=1.85)
    handles = {}
    for panel, (dtype, (n, scales)) in zip(panels, chosen.items(), strict=True):
        for name in run.implementations:
            found = [(x, worst_error(of(records, name))) for x, records in scales.items()]
            points = [(x, scale.place(at[0])) for x, at in found if at is not None]
            if points:
                (handles[name],) = panel.axes.plot(
                    *zip(*points, strict=True), color=style[name].colour,
                    marker=style[name].marker, linestyle=style[name].line,
                )  # fmt: skip
        log_scale(list(scales)).apply(panel.axes.xaxis)
        scale.apply(panel.axes.yaxis, labelled=panel.left)
        title_of = f"{dtype}, n = {integer(n)}"
        panel.name(title_of, "scale (standard deviation)", "largest error (ulp)")
    side_legend(fig, handles, handles, 1.77, 24)
    alt = f"{title}, for {', '.join(chosen)}."
    top = worst_error(everything)
    if top is not None:
        ulp, c = top
        alt += (
            f" The largest error is {in_words(ulp)} ({c.implementation}, {c.dtype}, {c.workload})."
        )
    return Plot(stem, title, prose("ulp_by_scale"), alt, table, fig)
