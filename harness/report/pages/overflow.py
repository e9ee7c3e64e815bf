"""The map of outcomes of the overflow experiment: offset × class count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from matplotlib.collections import PathCollection
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as MplPath
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from harness.numerics.formats import FORMATS
from harness.records import OverflowRecord
from harness.report.drawing import style
from harness.report.drawing.figure import Plot, grid, power
from harness.report.drawing.formatting import figure, integer, plural, superscript
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.run_data import RunData, absent_text, class_counts, of

LEGEND = 0.28  # inches that `add_legend` needs at the foot of a figure
COARSE_ULP = 10.0


Map = Mapping[tuple[float, int], OverflowRecord]
"""The records of an implementation by offset and class count."""


def map_records(run: RunData, dtype: str, operation: str) -> list[OverflowRecord]:
    """The records of the offset map of a dtype."""
    found = run.select(OverflowRecord, dtype=dtype, operation=operation)
    return [c for c in found if c.kind == "map"]


def map_of(records: Iterable[OverflowRecord], implementation: str) -> Map:
    """The map of an implementation."""
    return {
        (c.offset, c.classes): c
        for c in of(records, implementation)
        if c.offset is not None and c.classes is not None
    }


def offsets_of(records: Iterable[OverflowRecord]) -> list[float]:
    """The offsets of some records, rising."""
    return sorted({c.offset for c in records if c.offset is not None})


def outcome_of(record: OverflowRecord | None) -> str:
    """An outcome of `palette.OUTCOMES`; ``missing`` where the record has none.

    A result may lie within a wide bound and still have lost its digits: `COARSE_ULP` tells.
    """
    if record is None:
        return "missing"
    ulp = record.max_ulp or 0.0
    if record.outcome == "accurate" and ulp >= COARSE_ULP:
        fmt = FORMATS.get(record.dtype or "")
        return "lost" if fmt and ulp >= 2.0 ** (fmt.precision - 1) else "coarse"
    return record.outcome or ("crashed" if record.status == "crashed" else "missing")


def draw_map(
    axes: Any,
    at: Map,
    offsets: Sequence[float],
    classes: Sequence[int],
    labels: tuple[bool, bool],
    among: Sequence[float] = (),
) -> None:
    """One panel: a coloured field for every (class count, offset), with a letter unless right.

    Args:
        labels: whether class counts and offsets are written beside it.
        among: the offsets of all panels that share an axis, if they are more than its own.
    """
    lines = among or offsets
    heights = {offset: j for j, offset in enumerate(lines)}
    fields: dict[str, list[MplPath]] = {}
    letters: dict[str, list[tuple[float, float]]] = {}
    for i, n in enumerate(classes):
        for offset in offsets:
            j = heights[offset]
            record = at.get((offset, n))
            outcome = outcome_of(record)
            colour, letter, _ = style.OUTCOMES[outcome]
            if record and outcome in ("coarse", "lost", "inaccurate"):
                letter = _magnitude(record.max_ulp) or letter
            fields.setdefault(colour, []).append(_field(i, j))
            if letter:
                letters.setdefault(letter, []).append((i + 0.5, j + 0.5))
    for colour, paths in fields.items():  # one path a colour: a tenth of the file
        axes.add_artist(PathPatch(MplPath.make_compound_path(*paths), facecolor=colour, lw=0))
    for letter, places in letters.items():  # a tenth of the time that Matplotlib's text takes
        axes.add_artist(PathCollection(
            [_outline(letter)], facecolors="#ffffff" if letter in ("w", "c") else style.INK,
            linewidths=0, offsets=places, offset_transform=axes.transData,
            transform=axes.figure.dpi_scale_trans,
        ))  # fmt: skip
    axes.set(xlim=(0, max(len(classes), 1)), ylim=(0, max(len(lines), 1)))
    axes.set(xticks=(), yticks=())  # ticks without a line would cost more than all else
    axes.spines[:].set_visible(False)
    quiet = {"fontsize": 7.5, "color": style.MUTED}
    for i, n in enumerate(classes if labels[0] else ()):
        axes.text(i + 0.5, -0.35, _short(n), ha="center", va="top", **quiet)
    for offset, j in heights.items() if labels[1] else ():
        axes.text(-0.12, j + 0.5, _signed(offset), ha="right", va="center", **quiet)


@lru_cache(maxsize=1024)
def _outline(text: str) -> MplPath:
    """The outline of a text, in inches from its middle; set once, drawn often."""
    outline = TextPath((0.0, 0.0), text, size=5.8 / 72, prop=FontProperties("DejaVu Sans"))
    return outline.transformed(Affine2D().translate(-outline.get_extents().x1 / 2, -0.029))


def _field(i: int, j: int) -> MplPath:
    x0, x1, y0, y1 = i + 0.04, i + 0.96, j + 0.05, j + 0.95
    return MplPath([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], closed=True)


def _magnitude(ulp: float | None) -> str:
    """An error in at most five characters."""
    if ulp is None or not math.isfinite(ulp):
        return ""
    return f"{ulp:.0f}" if ulp < 9999.5 else f"10{superscript(round(math.log10(ulp)))}"


def _short(n: int) -> str:
    for scale, unit in ((10**6, "M"), (10**3, "k")):
        if n >= scale and n % (scale // 10) == 0:
            return f"{n / scale:g}{unit}"
    return str(n)


def _signed(offset: float) -> str:
    if offset == 0:
        return "0"
    sign = "−" if offset < 0 else ""
    magnitude = abs(offset)
    exact = f"{magnitude:.4g}"
    return sign + (exact if "e" not in exact else power(magnitude))


def add_legend(fig: Any, outcomes: Sequence[str]) -> None:
    """The outcomes that occur, in a line below the panels."""
    order = [o for o in style.OUTCOMES if o in outcomes]
    handles = [Patch(facecolor=style.OUTCOMES[o][0], linewidth=0) for o in order]
    texts = [f"{style.OUTCOMES[o][1]}  {o}".strip() if style.OUTCOMES[o][1] else o for o in order]
    fig.legend(
        handles, texts, loc="lower left", ncols=len(order), bbox_to_anchor=(0.055, 0.0),
        borderaxespad=0, columnspacing=1.6, handlelength=1.2, handleheight=1.0,
    )  # fmt: skip


def outcome_map(run: RunData, dtype: str, operation: str, stem: str) -> Plot:
    """Small multiples, one panel an implementation: outcome against offset and class count."""
    records = map_records(run, dtype, operation)
    title = f"Outcome against offset and class count, {dtype}"
    offsets, classes = offsets_of(records), class_counts(records)
    table = map_table(run, dtype, operation, f"{stem}-table", classes)
    if not offsets or not classes:
        return Plot.nothing(stem, title, f": no map was measured for {dtype}.", table)
    absent = run.absent(records, lambda c: c.outcome, dtype, operation)
    names = [n for n in run.implementations if n not in absent]
    if not names:
        return Plot.nothing(stem, title, f".{absent_text(absent)}", table)
    height = max(1.2, 0.135 * len(offsets))
    fig, panels = grid(len(names), 5, height, left=0.8, between=0.14, below=0.36, foot=LEGEND)
    present: set[str] = set()
    for panel, name in zip(panels, names, strict=True):
        at = map_of(records, name)
        present |= {outcome_of(at.get((o, n))) for n in classes for o in offsets}
        draw_map(panel.axes, at, offsets, classes, (panel.bottom, panel.left))
        panel.name(label(name), "classes", "offset of the logits")
    add_legend(fig, sorted(present))
    counts = Counter(outcome_of(c) for c in records)
    counted = ", ".join(f"{o} {counts[o]}" for o in style.OUTCOMES if counts[o])
    trouble = sorted({c.implementation for c in records
                      if outcome_of(c) not in ("exact", "accurate", "missing")})  # fmt: skip
    alt = (
        f"{title}: {plural(len(offsets), 'offset')} from {_signed(offsets[0])} to "
        f"{_signed(offsets[-1])}, {integer(classes[0])} to {integer(classes[-1])} classes. "
        f"Outcomes: {counted}. "
        + (f"Not right everywhere: {', '.join(trouble)}." if trouble else "All are right.")
    )
    workloads = ", ".join(sorted({c.workload for c in records if c.workload}))
    meanings = "; ".join(f"{o}: {style.OUTCOMES[o][2]}" for o in style.OUTCOMES if o in present)
    caption = prose(
        "outcome_map", workloads=workloads or "not recorded", meanings=meanings,
        absent=absent_text(absent),
    )  # fmt: skip
    return Plot(stem, title, caption, alt, table, fig)


def map_table(
    run: RunData,
    dtype: str,
    operation: str,
    name: str,
    classes: Sequence[int],
    only: str | None = None,
) -> Table:
    """Implementation and offset × class count: the outcome, with the largest error below it."""
    rows = []
    records = map_records(run, dtype, operation)
    absent = {} if only else run.absent(records, lambda c: c.outcome, dtype, operation)
    shown = [only] if only else [n for n in run.implementations if n not in absent]
    for implementation in shown:
        at = map_of(records, implementation)
        for offset in offsets_of(records):
            row = [words(implementation), Entry(_signed(offset), offset)]
            for n in classes:
                record = at.get((offset, n))
                if record is None or record.outcome is None:
                    here = [record] if record else []
                    row.append(missing(*run.why(implementation, here, dtype, operation)))
                    continue
                right = record.outcome in ("exact", "accurate", "limit")
                ulp = record.max_ulp
                row.append(words(
                    record.outcome, kind="" if right else "bad",
                    detail="" if ulp is None else f"{figure(ulp)} ulp",
                ))  # fmt: skip
            rows.append(row)
    columns = [*texts("Implementation"), Column("Offset")]
    columns += [Column(f"n = {integer(n)}", numeric=False) for n in classes]
    notes = [absent_text(absent).strip().replace("Not drawn", "Without any outcome")]
    caption = f"Outcome by offset and class count, {dtype}"
    return Table(name, caption, columns, rows, notes if absent else ())
