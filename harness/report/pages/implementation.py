"""The figures and tables of one implementation's page."""

from __future__ import annotations

from collections.abc import Mapping

from harness.records import (
    AccuracyRecord,
    ConformanceRecord,
    DeviceThroughputRecord,
    OverflowRecord,
    Record,
    ThroughputRecord,
    WorstCaseRecord,
)
from harness.report.chosen import chosen
from harness.report.drawing.figure import Plot, grid, note_inside
from harness.report.drawing.formatting import duration, integer, interval
from harness.report.drawing.prose import prose
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.pages import published_bounds as published
from harness.report.pages.accuracy import by_class, draw_panel, error_scale, in_words, sweep_of
from harness.report.pages.overflow import by_classes, signed
from harness.report.pages.overview import bound_entry, quotient, ulp_entry
from harness.report.pages.published_bounds import Point
from harness.report.pages.thresholds import INACCURATE, threshold_entry
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import REGIMES, RunData, class_counts, of, worst_error
from harness.report.timing_selection import curve, groups, timed


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
        others = [
            data[dtype][n] for n in sorted(chosen(run) - {name}) if curve and data[dtype].get(n)
        ]
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


def _nothing(stem: str, title: str, name: str, why: tuple[str, str]) -> Plot:
    """In place of a figure without data, whose table would hold the same gap in every place."""
    status, reason = why
    rows = [[words(name), missing(status, reason)]]
    table = Table(f"{stem}-table", title, texts("Implementation", "Figures"), rows)
    return Plot.nothing(stem, title, f": {status} ({reason}).", table)


def maps(run: RunData, name: str) -> list[Table]:
    """What comes out as an offset is added to the logits, a table a format."""
    found = (by_classes(run, name, dtype) for dtype in run.dtypes(OverflowRecord))
    return [table for table in found if table is not None]


def speeds(run: RunData, name: str) -> Table | None:
    """Every timing of an implementation that counts, one line a point."""
    rows = []
    for group in groups(run):
        mine = of(timed(run, group), name)
        for regime in REGIMES:
            for c in curve(mine, regime):
                rows.append([
                    words(group.title), words(regime), count(c.classes), words(c.fits),
                    timing_entry(c.time_ns, c, shown=duration),
                    timing_entry(c.gbps, c, interval(c.gbps_low, c.gbps_high)),
                    words("none", kind="quiet") if c.percent_of_limit is None
                    else timing_entry(c.percent_of_limit, c),
                    words("none", kind="quiet") if c.speedup is None
                    else timing_entry(c.speedup, c, interval(c.speedup_low, c.speedup_high)),
                ])  # fmt: skip
    columns = [
        *texts("Timings", "Regime"), Column("Classes"), *texts("Data"), Column("Time of a call"),
        Column("Bandwidth", "GB/s"), Column("Of limit", "%"), Column("Baseline ÷ time", "×"),
    ]  # fmt: skip
    return Table("speeds", f"Timings of {name}", columns, rows).or_none()


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

    Those of one experiment and format with the same reason are one line, with the place of the
    first.
    """
    gathered: dict[tuple[str, ...], list[Record]] = {}
    for c in run.records:
        if c.implementation != name or c.status == "ok" or isinstance(c, ConformanceRecord):
            continue  # conformance has a section of its own
        status, reason = c.status.replace("_", " "), c.reason or "no reason recorded"
        key = status, c.experiment, c.operation, c.dtype or "", reason
        gathered.setdefault(key, []).append(c)
    rows = [
        [*map(words, key[:-1]), count(len(found)), words(_place(found[0])), words(key[-1])]
        for key, found in gathered.items()
    ]
    numeric = ("Cells",)
    headers = ("Status", "Experiment", "Operation", "dtype", "Cells", "First of them", "Reason")
    columns = [Column(h, numeric=h in numeric) for h in headers]
    return Table("not-ok", "Cells that are not ok", columns, rows).or_none()


def _place(record: Record) -> str:
    """Where in its experiment a record belongs."""
    parts: list[str | None] = [record.workload]
    parts += [f"{integer(record.classes)} classes"] if record.classes else []
    if isinstance(record, ThroughputRecord | DeviceThroughputRecord):
        parts += [record.regime]
    elif isinstance(record, WorstCaseRecord):
        parts += [record.kind]
    elif isinstance(record, OverflowRecord):
        offset = None if record.offset is None else f"offset {signed(record.offset)}"
        parts += [record.kind, record.probe, record.event, offset]
    return ", ".join(p for p in parts if p)
