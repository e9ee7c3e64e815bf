"""The figures and tables of one implementation's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.records import (
    AccuracyRecord,
    ConformanceRecord,
    DeviceThroughputRecord,
    OverflowRecord,
    Record,
    ThroughputRecord,
    WorstCaseRecord,
)
from harness.report.drawing.figure import Plot, grid, note_inside
from harness.report.drawing.formatting import figure, integer
from harness.report.drawing.prose import prose
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.pages import published_bounds as published
from harness.report.pages.accuracy import by_class, draw_panel, error_scale, in_words, sweep_of
from harness.report.pages.overflow import (
    LEGEND,
    add_legend,
    draw_map,
    map_of,
    map_records,
    map_table,
    offsets_of,
    outcome_of,
)
from harness.report.pages.overview import bound_entry, quotient, ulp_entry
from harness.report.pages.published_bounds import Point
from harness.report.pages.thresholds import INACCURATE, threshold_entry
from harness.report.run_data import RunData, class_counts, of, worst_error


def accuracy(
    run: RunData, name: str, style: Mapping[str, Style], stem: str, operation: str = "softmax"
) -> Plot:
    """A panel a dtype: errors and bound of this implementation, the others in grey."""
    title = f"Error and bound of {name} against class count"
    dtypes = run.dtypes(AccuracyRecord)
    data: dict[str, dict[str, list[Point]]] = {}
    sweeps: dict[str, str | None] = {}
    rows = []
    for dtype in dtypes:
        records = run.select(AccuracyRecord, dtype=dtype, operation=operation)
        sweeps[dtype], sweep = sweep_of(records)
        data[dtype] = {n: by_class(of(sweep, n)) for n in run.implementations}
        for n in class_counts(sweep):
            here = [c for c in of(sweep, name) if c.classes == n]
            found = worst_error(here)
            place = [words(dtype), words(sweeps[dtype]), count(n)]
            if found is None:
                rows.append([*place, *[missing(*run.why(name, here, dtype))] * 5])
                continue
            ulp, c = found
            ratio, failed = c.error_over_bound, c.status == "failed"
            none = missing("no bound", "no error bound is declared")
            rows.append([
                *place,
                number(ulp, kind="bad" if failed else ""),
                none if c.bound_ulp is None else number(c.bound_ulp),
                none if ratio is None else Entry(quotient(ratio), ratio, "bad" if failed else ""),
                *published.entries(c),
            ])  # fmt: skip
    columns = [
        *texts("dtype", "Workload"), Column("Classes"), Column("Largest error", "ulp"),
        Column("Bound", "ulp"), Column("Error ÷ bound", "largest"), *published.COLUMNS,
    ]  # fmt: skip
    table = Table(f"{stem}-table", title, columns, rows)
    drawn = [d for d in dtypes if data[d][name]]
    if not drawn:
        mine = run.select(AccuracyRecord, implementation=name)
        return _nothing(stem, title, name, run.why(name, mine))
    scale = error_scale(curve for d in drawn for curve in data[d].values())
    fig, panels = grid(
        len(dtypes), max(len(dtypes), 2), 1.9, left=scale.margin, between=0.16,
        foot=published.LEGEND,
    )  # fmt: skip
    for panel, dtype in zip(panels, dtypes, strict=True):
        curve = data[dtype][name]
        classes = sorted({p.classes for c in data[dtype].values() for p in c})
        others = [c for n, c in data[dtype].items() if curve and n != name and c]
        draw_panel(panel, dtype, curve, style[name], scale, others, classes or [1, 10])
        if not curve:
            mine = run.select(AccuracyRecord, implementation=name, dtype=dtype)
            note_inside(panel.axes, run.why(name, mine, dtype, operation))
    tops = [f"{d} {in_words(max(p.ulp for p in data[d][name]))}" for d in drawn]
    which = ", ".join(dict.fromkeys(str(sweeps[d]) for d in drawn))
    curves = [data[d][name] for d in drawn]
    published.add_legend(fig, curves)
    said = published.said({name: [point for curve in curves for point in curve]})
    caption = prose("ulp_of_implementation", workload=which, published=said)
    alt = f"{title}. Largest errors: {', '.join(tops)}.{published.shortly(curves)}"
    return Plot(stem, title, caption, alt, table, fig)


def outcomes(run: RunData, name: str, stem: str, operation: str = "softmax") -> Plot:
    """A panel a dtype: the map of outcomes."""
    title = f"Outcomes of {name} against offset and class count"
    by_dtype = {d: map_records(run, d, operation) for d in run.dtypes(OverflowRecord)}
    places = {
        d: (offsets, classes)
        for d, records in by_dtype.items()
        if (offsets := offsets_of(records)) and (classes := class_counts(records))
    }
    everything = sorted({n for _, classes in places.values() for n in classes})
    rows: list[Sequence[Entry]] = []
    columns = texts("dtype")
    for dtype in places:
        part = map_table(run, dtype, operation, stem, everything, only=name)
        columns = [*texts("dtype"), *part.columns[1:]]
        rows += [[words(dtype), *row[1:]] for row in part.rows]
    table = Table(f"{stem}-table", title, columns, rows)
    drawn = {d: map_of([c for c in by_dtype[d] if c.outcome], name) for d in places}
    if not any(drawn.values()):
        mine = run.select(OverflowRecord, implementation=name)
        return _nothing(stem, title, name, run.why(name, [c for c in mine if c.kind == "map"]))
    among = sorted({offset for offsets, _ in places.values() for offset in offsets})
    fig, panels = grid(len(places), max(len(places), 2), max(1.3, 0.17 * len(among)), left=0.8,
                       foot=LEGEND)  # fmt: skip
    present: set[str] = set()
    for panel, (dtype, (offsets, classes)) in zip(panels, places.items(), strict=True):
        panel.name(dtype, "classes", "offset of the logits")
        if drawn[dtype]:
            present |= {outcome_of(drawn[dtype].get((o, n))) for n in classes for o in offsets}
            draw_map(panel.axes, drawn[dtype], offsets, classes, (True, panel.left), among)
        else:
            draw_map(panel.axes, {}, [], [], (False, panel.left), among)
            mine = of(by_dtype[dtype], name)
            note_inside(panel.axes, run.why(name, mine, dtype, operation))
    add_legend(fig, sorted(present))
    found = [outcome_of(c) for at in drawn.values() for c in at.values()]
    bad = sum(outcome not in ("exact", "accurate") for outcome in found)
    alt = f"{title}: {integer(bad)} of {integer(len(found))} cells are not exact or accurate."
    caption = (
        "Normal logits with the offset added; colours and letters as on the overflow page. "
        "Offsets without a field were not tried in that format."
    )
    return Plot(stem, title, caption, alt, table, fig)


def _nothing(stem: str, title: str, name: str, why: tuple[str, str]) -> Plot:
    """In place of a figure without data, whose table would hold the same gap in every place."""
    status, reason = why
    rows = [[words(name), missing(status, reason)]]
    table = Table(f"{stem}-table", title, texts("Implementation", "Figures"), rows)
    return Plot.nothing(stem, title, f": {status} ({reason}).", table)


def brief(run: RunData, name: str, operation: str = "softmax") -> Table:
    """The decisive figures by dtype."""
    rows = []
    about = run.about(name)
    dtypes = [*run.dtypes(AccuracyRecord), *run.dtypes(OverflowRecord)]
    for dtype in dict.fromkeys(dtypes):
        exp = about.exp_error_u.get(dtype) if about else None
        rows.append([
            words(dtype), ulp_entry(run, name, dtype, operation),
            threshold_entry(run, name, dtype, operation),
            threshold_entry(run, name, dtype, operation, INACCURATE),
            number(exp) if exp is not None
            else missing("not measured", "the run holds no measured error of this exponential"),
        ])  # fmt: skip
    columns = [
        *texts("dtype"), Column("Largest error", "ulp"), Column("Last finite t", "[t, 0]"),
        Column("Last accurate t", "[t, 0]"), Column("Error of exp", "u"),
    ]  # fmt: skip
    over = bound_entry(run, name, operation)
    notes = [f"Largest error ÷ bound: {over.text}."]
    return Table("brief", f"{name} in figures", columns, rows, notes)


def not_ok(run: RunData, name: str) -> Table | None:
    """The cells of the implementation that are not ``ok``, with their reasons.

    Those that only say what the implementation does not offer are gathered into one line a
    reason; every failure has a line of its own.
    """
    gathered: Counter[tuple[str, str, str, str, str]] = Counter()
    rows = []
    for c in run.records:
        if c.implementation != name or c.status == "ok":
            continue
        if isinstance(c, ConformanceRecord):  # has a section of its own
            continue
        status, reason = c.status.replace("_", " "), c.reason or "no reason recorded"
        key = status, c.experiment, c.operation, c.dtype or "", reason
        if status in ("unavailable", "unsupported"):
            gathered[key] += 1
            continue
        rows.append([
            *map(words, key[:-1]), words(c.workload), count(c.classes), count(c.rows),
            words(_place(c)), count(1), words(reason),
        ])  # fmt: skip
    for (status, experiment, operation, dtype, reason), n in gathered.items():
        rows.append(
            [*map(words, (status, experiment, operation, dtype, "all", "all", "all", "")),
             count(n), words(reason)]
        )  # fmt: skip
    numeric = ("Classes", "Rows", "Cells")
    headers = ("Status", "Experiment", "Operation", "dtype", "Workload", "Classes", "Rows",
               "Place", "Cells", "Reason")  # fmt: skip
    columns = [Column(h, numeric=h in numeric) for h in headers]
    return Table("not-ok", "Cells that are not ok", columns, rows).or_none()


def _place(record: Record) -> str:
    """Where in its experiment a record belongs, beyond the coordinates of every record."""
    parts: list[str | None] = []
    if isinstance(record, ThroughputRecord | DeviceThroughputRecord):
        parts = [record.regime]
    elif isinstance(record, WorstCaseRecord):
        parts = [record.kind]
    elif isinstance(record, OverflowRecord):
        offset = None if record.offset is None else f"offset {figure(record.offset)}"
        parts = [record.kind, record.probe, record.event, offset]
    return ", ".join(p for p in parts if p)
