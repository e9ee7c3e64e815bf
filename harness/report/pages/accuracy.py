"""Figures of the accuracy experiment: ulps against class count, and against the logits' scale."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from harness.records import AccuracyRecord
from harness.report.chosen import chosen
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    LogScale,
    Panel,
    Plot,
    broken,
    class_axis,
    draw_line,
    grid,
    label_ends,
    log_scale,
)
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.pages import published_bounds as published
from harness.report.pages.published_bounds import Curve, Point
from harness.report.pages.timing_curves import LABELS
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


def ulp_by_classes(run: RunData, operation: str, style: Mapping[str, Style], stem: str) -> Plot:
    """A panel a format: the largest error of each implementation against the class count."""
    title = "Largest error against class count"
    dtypes = run.dtypes(AccuracyRecord)
    sweeps = {d: sweep_of(run.select(AccuracyRecord, dtype=d, operation=operation)) for d in dtypes}
    curves = {
        d: {i: by_class(of(sweep, i)) for i in run.implementations}
        for d, (_, sweep) in sweeps.items()
    }
    workloads = ", ".join(dict.fromkeys(str(w) for w, _ in sweeps.values() if w))
    table = _curve_table(run, f"{stem}-table", f"{title}, workload {workloads}", sweeps)
    drawn = [d for d in dtypes if any(curves[d].values())]
    absent = run.absent(
        [c for _, sweep in sweeps.values() for c in sweep], lambda c: c.max_ulp, None, operation
    )
    if not drawn:
        return Plot.nothing(stem, title, f".{absent_text(absent)}", table)
    scale = log_scale(
        [p.ulp for d in drawn for curve in curves[d].values() for p in curve], floor=0.5
    )
    fig, panels = grid(len(drawn), 2, 2.1, left=scale.margin, right=LABELS, between=LABELS + 0.1)
    for panel, dtype in zip(panels, drawn, strict=True):
        found = {i: curve for i, curve in curves[dtype].items() if curve}
        scale.apply(panel.axes.yaxis, labelled=panel.left)
        class_axis(panel.axes, class_counts(sweeps[dtype][1]), labelled=panel.bottom)
        failed = {
            i: bad
            for i, curve in found.items()
            if (bad := [p for p in curve if p.record.status == "failed"])
        }
        draw_errors(
            panel.axes, {i: [(p.classes, p.ulp) for p in c] for i, c in found.items()},
            scale, style, chosen(run) | failed.keys(), "classes",
        )  # fmt: skip
        for i, bad in failed.items():
            places = [p.classes for p in bad], [scale.place(p.ulp) for p in bad]
            (ring,) = panel.axes.plot(*places, **palette.FAILED)
            fig.mark(ring, Series(i, style[i].colour, True))
        panel.name(dtype, "classes", "largest error (ulp)")
    caption = prose("ulp_by_classes", workload=workloads, absent=absent_text(absent))
    alt = " ".join(_alt(d, curves[d], class_counts(sweeps[d][1])) for d in drawn)
    return Plot(stem, title, caption, f"{title}. {alt}", table, fig)


def draw_errors(
    axes: Any, curves: Mapping[str, Sequence[tuple[float, float]]], scale: LogScale,
    style: Mapping[str, Style], on: Collection[str], of_what: str,
) -> None:  # fmt: skip
    """Errors of each implementation against something, named at their ends.

    Args:
        curves: x and error of the points of each.
        of_what: what x is, in words.
    """
    for name, points in sorted(curves.items(), key=lambda item: item[0] in on):
        places = [x for x, _ in points], [scale.place(ulp) for _, ulp in points]
        tips = [f"{figure(x)} {of_what}: {in_words(ulp)}" for x, ulp in points]
        draw_line(axes, name, style[name], places, on=name in on, tips=tips)
    ends = {n: (points[-1][0], scale.place(points[-1][1])) for n, points in curves.items()}
    label_ends(axes, ends, style, on)


def _curve_table(
    run: RunData, name: str, caption: str,
    sweeps: Mapping[str, tuple[str | None, Sequence[AccuracyRecord]]],
) -> Table:  # fmt: skip
    """Format and implementation × class count: the largest error."""
    classes = class_counts(c for _, sweep in sweeps.values() for c in sweep)
    rows = []
    for dtype, (_, sweep) in sweeps.items():
        drawn = {c.implementation for c in sweep if c.max_ulp is not None}
        for implementation in (i for i in run.implementations if i in drawn):
            mine = of(sweep, implementation)
            entries = [
                error_entry(run, implementation, [c for c in mine if c.classes == n], dtype)
                for n in classes
            ]
            rows.append([words(implementation), words(dtype), *entries])
    columns = [*texts("Implementation", "Format")]
    columns += [Column(f"n = {integer(n)}", "ulp") for n in classes]
    return Table(name, caption, columns, rows)


def _alt(dtype: str, curves: Mapping[str, Curve], classes: Sequence[int]) -> str:
    drawn = {i: curve for i, curve in curves.items() if curve}
    text = f"{dtype}: {plural(len(drawn), 'implementation')}"
    text += f", {integer(classes[0])} to {integer(classes[-1])} classes."
    last = {i: curve[-1].ulp for i, curve in drawn.items() if curve[-1].classes == classes[-1]}
    if last:
        low, high = min(last, key=lambda i: last[i]), max(last, key=lambda i: last[i])
        text += (
            f" At {integer(classes[-1])} classes the largest errors reach from "
            f"{in_words(last[low])} ({low}) to {in_words(last[high])} ({high})."
        )
    above = [
        i for i, curve in drawn.items() if any((p.record.error_over_bound or 0) > 1 for p in curve)
    ]
    return text + (f" Above its bound: {', '.join(above)}." if above else "")


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
    run: RunData, scaled: Mapping[str, tuple[int, Scales]], name: str, caption: str
) -> Table:
    """Format and implementation × scale: the largest error."""
    among = sorted({scale for _, scales in scaled.values() for scale in scales})
    rows = []
    for dtype, (n, scales) in scaled.items():
        drawn = {c.implementation for cs in scales.values() for c in cs if c.max_ulp is not None}
        for implementation in (i for i in run.implementations if i in drawn):
            errors = [
                error_entry(run, implementation, of(scales.get(x, ()), implementation), dtype)
                for x in among
            ]
            rows.append([words(implementation), words(dtype), count(n), *errors])
    columns = [*texts("Implementation", "Format"), Column("Classes")]
    columns += [Column(f"scale {figure(x)}", "ulp") for x in among]
    return Table(name, caption, columns, rows)


def ulp_by_scale(run: RunData, operation: str, style: Mapping[str, Style], stem: str) -> Plot:
    """A panel a dtype: largest error against the scale of the logits at one class count."""
    title = "Largest error against the scale of the logits"
    scaled = _scaled(run, operation)
    table = _scale_table(run, scaled, f"{stem}-table", title)
    if not scaled:
        why = ": no dtype was measured at two scales of one class count."
        return Plot.nothing(stem, title, why, table)
    everything = [c for _, scales in scaled.values() for cs in scales.values() for c in cs]
    scale = log_scale([c.max_ulp for c in measured(everything) if c.max_ulp is not None], floor=0.5)
    fig, panels = grid(len(scaled), 2, 2.1, left=scale.margin, right=LABELS, between=LABELS + 0.1)
    for panel, (dtype, (n, scales)) in zip(panels, scaled.items(), strict=True):
        found = {
            name: [(x, at[0]) for x, cs in scales.items() if (at := worst_error(of(cs, name)))]
            for name in run.implementations
        }
        log_scale(list(scales)).apply(panel.axes.xaxis)
        scale.apply(panel.axes.yaxis, labelled=panel.left)
        draw_errors(
            panel.axes, {i: points for i, points in found.items() if points}, scale, style,
            chosen(run), "times the standard normal",
        )  # fmt: skip
        title_of = f"{dtype}, n = {integer(n)}"
        panel.name(title_of, "scale (standard deviation)", "largest error (ulp)")
    alt = f"{title}, for {', '.join(scaled)}."
    top = worst_error(everything)
    if top is not None:
        ulp, c = top
        alt += (
            f" The largest error is {in_words(ulp)} ({c.implementation}, {c.dtype}, {c.workload})."
        )
    return Plot(stem, title, prose("ulp_by_scale"), alt, table, fig)
