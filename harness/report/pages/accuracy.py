"""Figures of the accuracy experiment: ulps against class count, and against the logits' scale."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.report.drawing import style as palette
from harness.report.drawing.figure import LogScale, Plot, class_axis, grid, log_scale
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.sanitize import label
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.pages import published_bounds as published
from harness.report.run_data import Cell, RunData, absent_text, measured, of, worst

HEADROOM = 1e4
_SCALE = re.compile(r"normal\(scale=([0-9.eE+-]+)\)")


def sweep_workload(cells: Sequence[Cell]) -> str | None:
    """The workload measured at the most class counts; the one with most cells among equals."""
    points = Counter({(c.get("workload"), c.get("classes")) for c in cells})
    counts = Counter(w for w, _ in points)
    volume = Counter(c.get("workload") for c in measured(cells))
    names = [w for w in counts if w is not None]
    return max(names, key=lambda w: (counts[w], volume[w], w), default=None)


def by_class(cells: Sequence[Cell], field: str) -> list[tuple[int, Cell]]:
    """(class count, the cell that is worst in `field`) in rising order."""
    found = []
    for classes in sorted({c["classes"] for c in cells if c.get("classes")}):
        cell = worst([c for c in cells if c.get("classes") == classes], field)
        if cell is not None:
            found.append((classes, cell))
    return found


def _ulp_entry(cell: Cell | None, why: tuple[str, str]) -> Entry:
    if cell is None or cell.get("max_ulp") is None:
        return missing(*why)
    text = figure(cell["max_ulp"])
    if cell["status"] == "failed":
        return Entry(text, cell["max_ulp"], "bad", note=f"failed: {cell.get('reason') or ''}")
    return Entry(text, cell["max_ulp"])


def draw_panel(
    axes: Any,
    curve: Sequence[tuple[int, Cell]],
    style: Style,
    scale: LogScale,
    context: Sequence[Sequence[tuple[int, Cell]]] = (),
) -> None:
    """One implementation's errors and bounds, over the errors of the others in grey."""
    for other in context:
        xs, ys = zip(*((n, scale.place(c["max_ulp"])) for n, c in other), strict=True)
        axes.plot(xs, ys, color=palette.CONTEXT, linewidth=0.7)
    top = scale.limits[1] ** 2
    published.draw(axes, curve, top)
    bound = [(n, c["bound_ulp"]) for n, c in curve if c.get("bound_ulp") is not None]
    if bound:
        axes.plot(
            [n for n, _ in bound], [min(b, top) for _, b in bound],
            color=style.colour, linewidth=0.9, dashes=published.OWN_DASHES,
        )  # fmt: skip
    axes.plot(
        [n for n, _ in curve], [scale.place(c["max_ulp"]) for _, c in curve],
        color=style.colour, marker=style.marker, linestyle=style.line,
    )  # fmt: skip
    failed = [(n, scale.place(c["max_ulp"])) for n, c in curve if c["status"] == "failed"]
    if failed:
        axes.plot(
            [n for n, _ in failed], [y for _, y in failed], linestyle="none", marker="o",
            markersize=8.5, markerfacecolor="none", markeredgecolor=palette.ALERT,
        )  # fmt: skip


def error_scale(curves: Iterable[Sequence[tuple[int, Cell]]]) -> LogScale:
    """The common scale of some curves: all errors, and bounds up to `HEADROOM` above them.

    A bound can be wider than anything that could be drawn to scale (10⁸⁰ ulp, or infinite): it
    then leaves its panel at the top.
    """
    cells = [c for curve in curves for _, c in curve]
    errors = [float(c["max_ulp"]) for c in cells]
    ceiling = HEADROOM * max((e for e in errors if math.isfinite(e)), default=1.0)
    wide = [float(c["bound_ulp"]) for c in cells if c.get("bound_ulp") is not None]
    wide += [found[1] for c in cells if (found := published.applying(c))]
    return log_scale([*errors, *(min(b, ceiling) for b in wide)], floor=0.5)


def curve_table(
    run: RunData,
    name: str,
    caption: str,
    cells_of: Mapping[str, Sequence[Cell]],
    classes: Sequence[int],
    dtype: str,
) -> Table:
    """Implementation × class count: the largest error, its bounds on quieter lines below.

    The bounds have columns of their own in the CSV.
    """
    rows = []
    unshown: dict[str, list[Any]] = {}
    for implementation, cells in cells_of.items():
        row, theorems = [words(implementation)], []
        for n in classes:
            here = [c for c in cells if c.get("classes") == n]
            cell = worst(here, "max_ulp")
            entry = _ulp_entry(cell, run.why(implementation, here, dtype=dtype))
            bound = cell.get("bound_ulp") if cell is not None else None
            size, theorem = published.entries(cell)
            lines = [f"bound: {figure(bound)}"] if bound is not None else []
            if size.text:
                lines.append(f"{theorem.text}: {size.text}")
                theorems.append(theorem.text)
            row.append(replace(entry, detail="\n".join(lines) or None))
            at = f"n = {integer(n)}"
            unshown.setdefault(f"{at} bound ulp", []).append(bound)
            unshown.setdefault(f"{at} published bound ulp", []).append(size.raw)
        unshown.setdefault("published bound", []).append(", ".join(dict.fromkeys(theorems)))
        rows.append(row)
    columns = texts("Implementation")
    columns += [Column(f"n = {integer(n)}", "ulp") for n in classes]
    notes = [
        "Below each error, in ulps, the largest over the elements of the bound that judges it, "
        "and of the published bound where one applies, under the name of its theorem."
    ]
    return Table(name, caption, columns, rows, notes, unshown)


def ulp_by_classes(
    run: RunData, dtype: str, operation: str, style: Mapping[str, Style], stem: str
) -> Plot:
    """Small multiples, one panel an implementation: largest error and bound against classes."""
    cells = run.select("accuracy", dtype=dtype, operation=operation)
    workload = sweep_workload(cells)
    sweep = [c for c in cells if c.get("workload") == workload]
    classes = sorted({c["classes"] for c in sweep if c.get("classes")})
    found = {i: of(sweep, i) for i in run.implementations}
    curves = {i: by_class(cells, "max_ulp") for i, cells in found.items()}
    title = f"Largest error against class count, {dtype}"
    caption_text = f"Largest error in ulps of {dtype}, workload {workload}"
    table = curve_table(run, f"{stem}-table", caption_text, found, classes, dtype)
    drawn = [i for i in run.implementations if curves[i]]
    absent = run.absent(sweep, "max_ulp", dtype=dtype, operation=operation)
    if not drawn:
        return Plot(stem, title, f"Nothing to draw.{absent_text(absent)}", "", table, None)
    scale = error_scale(curves.values())
    columns = min(5, len(drawn))
    fig, panels = grid(
        len(drawn), columns, 1.45, left=scale.margin, between=0.16, foot=published.LEGEND
    )
    for k, (name, axes) in enumerate(zip(drawn, panels, strict=True)):
        draw_panel(axes, curves[name], style[name], scale, [curves[i] for i in drawn if i != name])
        axes.set_title(label(name))
        scale.apply(axes.yaxis, labelled=k % columns == 0)
        class_axis(axes, classes, labelled=k + columns >= len(panels))
        if k % columns == 0:
            axes.set_ylabel("largest error (ulp)")
        if k + columns >= len(panels):
            axes.set_xlabel("classes")
    published.add_legend(fig, curves.values())
    caption = (
        f"Workload {workload}. Markers: largest error over the elements against the unrounded "
        f"reference. Dashes in the same colour: a-priori bound of the algorithm, the largest over "
        f"the elements. Grey: the errors of the other implementations. A ring marks a result that "
        f"failed its check; a bound too wide for the scale leaves its panel at the top. Errors are "
        f"the largest found on these inputs; others may have larger ones."
        f"{published.said(curves)}{absent_text(absent)}"
    )
    return Plot(stem, title, caption, _alt(title, curves, classes, scale), table, fig)


def _alt(
    title: str,
    curves: Mapping[str, Sequence[tuple[int, Cell]]],
    classes: Sequence[int],
    scale: LogScale,
) -> str:
    last = {i: c[-1] for i, c in curves.items() if c and c[-1][0] == classes[-1]}
    text = f"{title}: {plural(len([c for c in curves.values() if c]), 'implementation')}"
    text += f", {integer(classes[0])} to {integer(classes[-1])} classes."
    if last:
        low = min(last, key=lambda i: float(last[i][1]["max_ulp"]))
        high = max(last, key=lambda i: float(last[i][1]["max_ulp"]))
        text += (
            f" At {integer(classes[-1])} classes the largest errors reach from "
            f"{in_words(last[low][1]['max_ulp'])} ({low}) to "
            f"{in_words(last[high][1]['max_ulp'])} ({high})."
        )
    ratios = {
        i: [c["error_over_bound"] for _, c in curve if c.get("error_over_bound") is not None]
        for i, curve in curves.items()
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


def _scaled(run: RunData, operation: str) -> dict[str, tuple[int, list[Cell]]]:
    """By dtype, the class count measured at the most scales of the logits, and its cells."""
    chosen = {}
    for dtype in run.dtypes("accuracy"):
        cells = [
            c
            for c in run.select("accuracy", dtype=dtype, operation=operation)
            if scale_of(c.get("workload")) is not None and c.get("classes")
        ]
        scales = Counter(n for n, _ in {(c["classes"], c["workload"]) for c in cells})
        if scales and max(scales.values()) > 1:
            n = max(scales, key=lambda n: (scales[n], n))
            chosen[dtype] = n, [c for c in cells if c["classes"] == n]
    return chosen


def _scale_table(
    run: RunData, chosen: Mapping[str, tuple[int, list[Cell]]], name: str, caption: str
) -> Table:
    columns = [
        *texts("Implementation", "dtype", "Workload"), Column("Classes"),
        Column("Largest error", "ulp"), Column("Bound", "ulp"), *published.COLUMNS,
    ]  # fmt: skip
    rows = []
    for dtype, (n, cells) in chosen.items():
        workloads = sorted({c["workload"] for c in cells}, key=lambda w: scale_of(w) or 0.0)
        for implementation in run.implementations:
            mine = of(cells, implementation)
            for workload in workloads:
                here = [c for c in mine if c["workload"] == workload]
                cell = worst(here, "max_ulp")
                bound = cell.get("bound_ulp") if cell else None
                rows.append([
                    words(implementation), words(dtype), words(workload), Entry(integer(n), n),
                    _ulp_entry(cell, run.why(implementation, here, dtype=dtype)),
                    Entry(figure(bound), bound, "quiet") if bound is not None
                    else Entry("none", "none", "quiet"),
                    *published.entries(cell),
                ])  # fmt: skip
    return Table(name, caption, columns, rows)


def ulp_by_scale(run: RunData, operation: str, style: Mapping[str, Style], stem: str) -> Plot:
    """A panel a dtype: largest error against the scale of the logits at one class count."""
    title = "Largest error against the scale of the logits"
    chosen = _scaled(run, operation)
    table = _scale_table(run, chosen, f"{stem}-table", title)
    if not chosen:
        return Plot(
            stem, title, "Nothing to draw: no dtype was measured at two scales of one class count.",
            "", table, None,
        )  # fmt: skip
    everything = [float(c["max_ulp"]) for _, cells in chosen.values() for c in measured(cells)
                  if c.get("max_ulp") is not None]  # fmt: skip
    scale = log_scale(everything, floor=0.5)
    fig, panels = grid(len(chosen), 4, 2.1, left=scale.margin, right=1.85)
    handles = {}
    for k, (axes, (dtype, (n, cells))) in enumerate(zip(panels, chosen.items(), strict=True)):
        for name in run.implementations:
            points = []
            mine = of(cells, name)
            for workload in {c["workload"] for c in mine}:
                here = [c for c in mine if c["workload"] == workload]
                cell, found = worst(here, "max_ulp"), scale_of(workload)
                if cell is not None and found is not None:
                    points.append((found, scale.place(cell["max_ulp"])))
            if points:
                points.sort()
                (handles[name],) = axes.plot(
                    [p for p, _ in points], [p for _, p in points], color=style[name].colour,
                    marker=style[name].marker, linestyle=style[name].line,
                )  # fmt: skip
        found_scales = [s for c in cells if (s := scale_of(c["workload"])) is not None]
        log_scale(found_scales).apply(axes.xaxis)
        scale.apply(axes.yaxis, labelled=k % 4 == 0)
        axes.set_title(f"{dtype}, n = {integer(n)}")
        axes.set_xlabel("scale (standard deviation)")
        if k % 4 == 0:
            axes.set_ylabel("largest error (ulp)")
    fig.legend(
        handles.values(), [label(n, 24) for n in handles], loc="upper left",
        bbox_to_anchor=(1 - 1.77 / 9.6, 0.95), borderaxespad=0, labelspacing=0.55,
    )  # fmt: skip
    top = worst([c for _, cells in chosen.values() for c in cells], "max_ulp")
    alt = f"{title}, for {', '.join(chosen)}."
    if top is not None:
        alt += (
            f" The largest error is {in_words(top['max_ulp'])}"
            f" ({top['implementation']}, {top['dtype']}, {top['workload']})."
        )
    caption = (
        "Normal logits of rising standard deviation at one class count. The difference x − max is "
        "rounded before it enters the exponential, so that the error of shifted forms can grow "
        "with the range. It stops growing where only logits within a factor of 2 of the maximum "
        "have results that do not underflow: their differences are exact."
    )
    return Plot(stem, title, caption, alt, table, fig)
