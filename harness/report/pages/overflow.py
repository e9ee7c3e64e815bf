"""The map of outcomes of the overflow experiment: offset × class count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as MplPath

from harness.numerics.formats import FORMATS
from harness.report.drawing import style
from harness.report.drawing.figure import Plot, grid, power
from harness.report.drawing.formatting import figure, integer, plural, superscript
from harness.report.drawing.sanitize import label
from harness.report.drawing.tables import Column, Entry, Table, missing, texts, words
from harness.report.run_data import Cell, RunData, absent_text, of

LEGEND = 0.28  # inches that `add_legend` needs at the foot of a figure
COARSE_ULP = 10.0


def map_cells(run: RunData, dtype: str, operation: str) -> list[Cell]:
    """The cells of the offset map of a dtype."""
    return run.select("overflow", dtype=dtype, operation=operation, kind="map")


def outcome_of(cell: Cell | None) -> str:
    """An outcome of `palette.OUTCOMES`; ``missing`` where the cell has none.

    A result may lie within a wide bound and still have lost its digits: `COARSE_ULP` tells.
    """
    outcome = str(cell.get("outcome")) if cell else ""
    ulp = (cell.get("max_ulp") or 0.0) if cell else 0.0
    if cell and outcome == "accurate" and ulp >= COARSE_ULP:
        fmt = FORMATS.get(str(cell.get("dtype")))
        return "lost" if fmt and ulp >= 2.0 ** (fmt.precision - 1) else "coarse"
    if outcome in style.OUTCOMES:
        return outcome
    return "crashed" if cell and cell["status"] == "crashed" else "missing"


def draw_map(
    axes: Any,
    cells: Sequence[Cell],
    offsets: Sequence[float],
    classes: Sequence[int],
    labels: tuple[bool, bool],
) -> None:
    """One panel: a coloured field for every (class count, offset), with a letter unless right."""
    at = {(c.get("classes"), c.get("offset")): c for c in cells}
    fields: dict[str, list[Any]] = {}
    for i, n in enumerate(classes):
        for j, offset in enumerate(offsets):
            cell = at.get((n, offset))
            colour, letter, _ = style.OUTCOMES[outcome_of(cell)]
            if cell and outcome_of(cell) in ("coarse", "lost", "inaccurate"):
                letter = _magnitude(cell.get("max_ulp")) or letter
            fields.setdefault(colour, []).append(_field(i, j))
            if letter:
                axes.text(
                    i + 0.5, j + 0.48, letter, ha="center", va="center", fontsize=5.8,
                    color="#ffffff" if letter in ("w", "c") else style.INK,
                )  # fmt: skip
    for colour, paths in fields.items():  # one path a colour: a tenth of the file
        axes.add_patch(PathPatch(MplPath.make_compound_path(*paths), facecolor=colour, lw=0))
    axes.set(xlim=(0, max(len(classes), 1)), ylim=(0, max(len(offsets), 1)))
    axes.set_xticks([i + 0.5 for i in range(len(classes))])
    axes.set_yticks([j + 0.5 for j in range(len(offsets))])
    axes.set_xticklabels([_short(n) if labels[0] else "" for n in classes])
    axes.set_yticklabels([_signed(o) if labels[1] else "" for o in offsets])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _field(i: int, j: int) -> Any:
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
    cells = map_cells(run, dtype, operation)
    title = f"Outcome against offset and class count, {dtype}"
    offsets = sorted({c["offset"] for c in cells if c.get("offset") is not None})
    classes = sorted({c["classes"] for c in cells if c.get("classes") is not None})
    table = map_table(run, dtype, operation, f"{stem}-table", offsets, classes)
    if not offsets or not classes:
        return Plot(stem, title, f"Nothing to draw: no map was measured for {dtype}.", "", table,
                    None)  # fmt: skip
    absent = run.absent(cells, "outcome", dtype=dtype, operation=operation)
    names = [n for n in run.implementations if n not in absent]
    if not names:
        return Plot(stem, title, f"Nothing to draw.{absent_text(absent)}", "", table, None)
    columns = min(5, len(names))
    height = max(1.2, 0.135 * len(offsets))
    fig, panels = grid(len(names), columns, height, left=0.8, between=0.14, below=0.36, foot=LEGEND)
    present: set[str] = set()
    for k, (name, axes) in enumerate(zip(names, panels, strict=True)):
        mine = of(cells, name)
        axes.set_title(label(name))
        at = {(c.get("classes"), c.get("offset")): c for c in reversed(mine)}
        present |= {outcome_of(at.get((n, o))) for n in classes for o in offsets}
        last_line = k + columns >= len(panels)
        draw_map(axes, mine, offsets, classes, (last_line, k % columns == 0))
        if k % columns == 0:
            axes.set_ylabel("offset of the logits")
        if last_line:
            axes.set_xlabel("classes")
    add_legend(fig, sorted(present))
    counts = Counter(outcome_of(c) for c in cells)
    counted = ", ".join(f"{o} {counts[o]}" for o in style.OUTCOMES if counts[o])
    trouble = sorted({c["implementation"] for c in cells
                      if outcome_of(c) not in ("exact", "accurate", "missing")})  # fmt: skip
    alt = (
        f"{title}: {plural(len(offsets), 'offset')} from {_signed(offsets[0])} to "
        f"{_signed(offsets[-1])}, {integer(classes[0])} to {integer(classes[-1])} classes. "
        f"Outcomes: {counted}. "
        + (f"Not right everywhere: {', '.join(trouble)}." if trouble else "All are right.")
    )
    workloads = ", ".join(sorted({str(c["workload"]) for c in cells if c.get("workload")}))
    meanings = "; ".join(f"{o}: {style.OUTCOMES[o][2]}" for o in style.OUTCOMES if o in present)
    caption = (
        f"Normal logits with the offset added (workload {workloads or 'not recorded'}). "
        f"{meanings}. Numbers: largest error in ulps, where 10 or more or beyond the bound. A wide "
        "bound excuses an algorithm, not its digits." + absent_text(absent)
    )
    return Plot(stem, title, caption, alt, table, fig)


def map_table(
    run: RunData,
    dtype: str,
    operation: str,
    name: str,
    offsets: Sequence[float],
    classes: Sequence[int],
    only: str | None = None,
) -> Table:
    """Implementation and offset × class count: the outcome, with the largest error below it."""
    rows = []
    cells: Mapping[tuple[Any, ...], Cell] = {
        (c["implementation"], c.get("offset"), c.get("classes")): c
        for c in map_cells(run, dtype, operation)
    }
    absent = {} if only else run.absent(cells.values(), "outcome", dtype=dtype, operation=operation)
    shown = [only] if only else [n for n in run.implementations if n not in absent]
    for implementation in shown:
        for offset in offsets:
            row = [words(implementation), Entry(_signed(offset), offset)]
            for n in classes:
                cell = cells.get((implementation, offset, n))
                if cell is None or cell.get("outcome") is None:
                    row.append(missing(*run.why(implementation, [cell] if cell else [],
                                                dtype=dtype, operation=operation)))  # fmt: skip
                    continue
                right = cell["outcome"] in ("exact", "accurate", "limit")
                ulp = cell.get("max_ulp")
                row.append(Entry(
                    str(cell["outcome"]), cell["outcome"], "" if right else "bad",
                    detail=f"{figure(ulp)} ulp" if ulp is not None else None,
                ))  # fmt: skip
            rows.append(row)
    columns = [*texts("Implementation"), Column("Offset")]
    columns += [Column(f"n = {integer(n)}", numeric=False) for n in classes]
    notes = [absent_text(absent).strip().replace("Not drawn", "Without any outcome")]
    caption = f"Outcome by offset and class count, {dtype}"
    return Table(name, caption, columns, rows, notes if absent else ())
