"""Figures and tables of the overflow experiment: thresholds, and the map of outcomes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as MplPath

from harness.floats import FORMATS
from harness.report import palette
from harness.report.cells import Cell, RunData, absent_text
from harness.report.figure import Plot, grid, power
from harness.report.names import label
from harness.report.numbers import figure, integer, plural, superscript, threshold
from harness.report.tables import Column, Entry, Table, missing, words

COARSE_ULP = 10.0
PROBES = {"dominant": "[t, 0]", "tie": "[t, t]"}
EVENTS = {
    "nonfinite": "not finite",
    "zero": "turns to zero",
    "inaccurate": "loses accuracy",
}


def threshold_cell(
    run: RunData,
    name: str,
    dtype: str,
    operation: str = "softmax",
    probe: str = "dominant",
    sign: int = 1,
    event: str = "nonfinite",
) -> tuple[Cell | None, list[Cell]]:
    """The measured record of a threshold, and all records at its place."""
    here = [
        c
        for c in run.select("overflow", implementation=name, dtype=dtype, operation=operation)
        if c.get("kind") == "threshold"
        and (c.get("probe"), c.get("sign"), c.get("event")) == (probe, sign, event)
    ]
    found = [c for c in here if c.get("occurs") is not None]
    if not here:  # a cell that died before it knew its own figures
        here = [
            c
            for c in run.select("overflow", implementation=name, dtype=dtype, operation=operation)
            if c.get("kind") in (None, "threshold") and c["status"] not in ("ok", "failed")
        ]
    return (found[0] if found else None), here


def threshold_entry(run: RunData, name: str, dtype: str, **place: Any) -> Entry:
    """The last good logit, ``never``, or why there is none."""
    cell, here = threshold_cell(run, name, dtype, **place)
    if cell is None:
        operation = place.get("operation", "softmax")
        return missing(*run.why(name, here, dtype=dtype, operation=operation))
    if not cell["occurs"]:
        return Entry("never", "never", "quiet")
    last = cell.get("last_good")
    if last is None:
        first = threshold(cell.get("first_bad"), dtype)
        return Entry("always", "always", note=f"already at t = {first or '0'}")
    return Entry(threshold(last, dtype), last)


def thresholds(run: RunData, dtype: str, operation: str) -> Table:
    """Implementation × (probe, event): the last t before the event, both directions of t."""
    places = [(p, s, e) for s in (1, -1) for p in PROBES for e in EVENTS]
    grid_of = {
        place: [
            threshold_entry(
                run, name, dtype, operation=operation, probe=place[0], sign=place[1], event=place[2]
            )
            for name in run.implementations
        ]
        for place in places
    }
    shown = [
        p for p in places if any(e.text != "never" and e.kind != "missing" for e in grid_of[p])
    ]
    silent = [p for p in places if p not in shown and any(e.text == "never" for e in grid_of[p])]
    unmeasured = [p for p in places if p not in shown and p not in silent]
    columns = [Column("Implementation", numeric=False)]
    columns += [
        Column(
            EVENTS[e], "last t before", group=f"{PROBES[p]}, t {'→ +max' if s > 0 else '→ −max'}"
        )
        for p, s, e in shown
    ]
    rows = [
        [words(name), *[grid_of[p][k] for p in shown]] for k, name in enumerate(run.implementations)
    ]
    if not shown:
        columns.append(Column("Any event", numeric=False))
        for k, row in enumerate(rows):
            gap = next((grid_of[p][k] for p in places if grid_of[p][k].kind == "missing"), None)
            row.append(gap if gap is not None and not silent else Entry("never", kind="quiet"))
    notes = [
        "Each figure is the last t of the format at which the row is still right: at the next "
        "number of the format the event happens. t runs to the largest finite number; “never” "
        "means that the event does not happen on the way. Found by bisection: an event that comes "
        "and goes again between two probes can be missed.",
    ]
    if silent:
        notes.append(f"Never, for any implementation measured: {_places(silent)}.")
    if unmeasured and shown:
        notes.append(f"Not measured in this run: {_places(unmeasured)}.")
    caption = f"Overflow thresholds, {dtype}"
    return Table(f"thresholds-{dtype}", caption, columns, rows, notes)


def _places(places: Sequence[tuple[str, int, str]]) -> str:
    return "; ".join(
        f"{EVENTS[e]} on {PROBES[p]} towards {'+' if s > 0 else '−'}max" for p, s, e in places
    )


def details(run: RunData, dtype: str, operation: str) -> Table:
    """Every threshold record, with its hexadecimal neighbours and the results there."""
    rows = []
    for c in run.select("overflow", dtype=dtype, operation=operation):
        if c.get("kind") not in (None, "threshold"):
            continue
        rows.append([
            words(c["implementation"]), words(PROBES.get(str(c.get("probe")), c.get("probe"))),
            words({1: "+", -1: "−"}.get(c.get("sign") or 0, "")),
            words(EVENTS.get(str(c.get("event")), c.get("event"))),
            words(c["status"] if c.get("occurs") is None else "yes" if c["occurs"] else "never"),
            words(c.get("last_good_hex")), words(c.get("first_bad_hex")),
            words(" ".join(c.get("got_at_first_bad") or [])),
            words(" ".join(c.get("expected_at_first_bad") or [])),
            Entry(figure(c.get("tolerance_ulp")), c.get("tolerance_ulp") or ""),
            words(c.get("reason")),
        ])  # fmt: skip
    columns = [
        Column(h, numeric=False)
        for h in ("Implementation", "Probe", "Direction", "Event", "Happens", "Last good",
                  "First bad", "Result there", "Correctly rounded")
    ]  # fmt: skip
    columns += [Column("Tolerance", "ulp"), Column("Reason", numeric=False)]
    return Table(f"threshold-details-{dtype}", f"Thresholds in full, {dtype}", columns, rows)


# --- the map -------------------------------------------------------------------------------------


def map_cells(run: RunData, dtype: str, operation: str) -> list[Cell]:
    """The cells of the offset map of a dtype."""
    return [c for c in run.select("overflow", dtype=dtype, operation=operation)
            if c.get("kind") == "map"]  # fmt: skip


def outcome_of(cell: Cell | None) -> str:
    """An outcome of `palette.OUTCOMES`; ``missing`` where the cell has none.

    A result may lie within a wide bound and still have lost its digits: `COARSE_ULP` tells.
    """
    outcome = str(cell.get("outcome")) if cell else ""
    ulp = (cell.get("max_ulp") or 0.0) if cell else 0.0
    if cell and outcome == "accurate" and ulp >= COARSE_ULP:
        fmt = FORMATS.get(str(cell.get("dtype")))
        return "lost" if fmt and ulp >= 2.0 ** (fmt.precision - 1) else "coarse"
    if outcome in palette.OUTCOMES:
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
            colour, _, letter, _ = palette.OUTCOMES[outcome_of(cell)]
            if cell and outcome_of(cell) in ("coarse", "lost", "inaccurate"):
                letter = _magnitude(cell.get("max_ulp")) or letter
            fields.setdefault(colour, []).append(_field(i, j))
            if letter:
                axes.text(
                    i + 0.5, j + 0.48, letter, ha="center", va="center", fontsize=5.8,
                    color="#ffffff" if letter in ("w", "c") else palette.INK,
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
    order = [o for o in palette.OUTCOMES if o in outcomes]
    handles = [Patch(facecolor=palette.OUTCOMES[o][0], linewidth=0) for o in order]
    texts = [
        f"{palette.OUTCOMES[o][2]}  {o}".strip() if palette.OUTCOMES[o][2] else o for o in order
    ]
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
    fig, panels = grid(len(names), columns, height, left=0.8, between=0.14, below=0.36)
    extra = 0.28  # the legend's line
    total = fig.get_size_inches()[1] + extra
    for axes in panels:
        box = axes.get_position()
        axes.set_position((
            box.x0, (box.y0 * (total - extra) + extra) / total, box.width,
            box.height * (total - extra) / total,
        ))  # fmt: skip
    fig.set_size_inches(9.6, total)
    present: set[str] = set()
    for k, (name, axes) in enumerate(zip(names, panels, strict=True)):
        mine = [c for c in cells if c["implementation"] == name]
        axes.set_title(label(name))
        present |= {
            outcome_of(next((c for c in mine if (c.get("classes"), c.get("offset")) == (n, o)),
                            None))
            for n in classes for o in offsets
        }  # fmt: skip
        last_line = k + columns >= len(panels)
        draw_map(axes, mine, offsets, classes, (last_line, k % columns == 0))
        if k % columns == 0:
            axes.set_ylabel("offset of the logits")
        if last_line:
            axes.set_xlabel("classes")
    add_legend(fig, sorted(present))
    counts = Counter(outcome_of(c) for c in cells)
    counted = ", ".join(f"{o} {counts[o]}" for o in palette.OUTCOMES if counts[o])
    trouble = sorted(
        {
            c["implementation"]
            for c in cells
            if outcome_of(c) not in ("exact", "accurate", "missing")
        }
    )
    alt = (
        f"{title}: {plural(len(offsets), 'offset')} from {_signed(offsets[0])} to "
        f"{_signed(offsets[-1])}, {integer(classes[0])} to {integer(classes[-1])} classes. "
        f"Outcomes: {counted}. "
        + (f"Not right everywhere: {', '.join(trouble)}." if trouble else "All are right.")
    )
    workloads = ", ".join(sorted({str(c["workload"]) for c in cells if c.get("workload")}))
    meanings = "; ".join(f"{o}: {palette.OUTCOMES[o][3]}" for o in palette.OUTCOMES if o in present)
    caption = (
        f"Normal logits with the offset added (workload {workloads or 'not recorded'}). "
        f"{meanings}. Numbers: largest error in ulps, where 10 or more or beyond the bound."
        + absent_text(absent)
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
    for implementation in run.implementations if only is None else [only]:
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
    columns = [Column("Implementation", numeric=False), Column("Offset")]
    columns += [Column(f"n = {integer(n)}", numeric=False) for n in classes]
    return Table(name, f"Outcome by offset and class count, {dtype}", columns, rows)
