"""The results matrix of the overview: one line an implementation, the figures that decide."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from harness.records import (
    AccuracyRecord,
    ConformanceRecord,
    OverflowRecord,
    ThroughputRecord,
)
from harness.report.chosen import fastest_first
from harness.report.drawing.formatting import figure, integer, interval, plural, shorter
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, missing, number, texts
from harness.report.pages import conformance
from harness.report.pages.thresholds import threshold_entry
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import MEASURED, RunData, measured, worst, worst_error
from harness.report.run_header import repeat
from harness.report.timing_selection import Headline, headline, headline_record, why_untimed

ULP_DTYPES = ("float64", "float32", "float16", "bfloat16")
THRESHOLD_DTYPE = "float32"
STARTLING = 1e3
"""Ulps from which on a figure says why, where it stands."""


def _compiler_of(outcome: dict[str, Any]) -> str | None:
    return next((str(outcome[k]) for k in outcome if "version" in k and outcome[k]), None)


def compile_outcome(run: RunData, name: str) -> str | None:
    """What is known of device code that did not run: the outcome of compiling it, in words."""
    about = run.about(name)
    if about is None or about.device != "cuda" or about.available:
        return None
    if not about.compiled:
        return "not run on a GPU"
    # An outcome without a compiler's version: there was no compiler, and its log says so.
    absent = [o["log"] for o in about.compiled if o.get("log") and not _compiler_of(o)]
    if absent:
        return f"not run on a GPU; {absent[0]}"
    parts = []
    for outcome in about.compiled:
        target = next((outcome[k] for k in ("arch", "target", "name") if outcome.get(k)), "?")
        parts.append(f"{target} {'ok' if outcome.get('ok') else 'failed'}")
    versions = {v for o in about.compiled if (v := _compiler_of(o))}
    compiler = f" with NVRTC {', '.join(sorted(versions))}" if versions else ""
    return f"not run on a GPU; compiled{compiler}: {', '.join(parts)}"


def status_entry(run: RunData, name: str) -> Entry:
    """All cells of an implementation in a few words."""
    about = run.about(name)
    counts = run.statuses(name)
    compiled = compile_outcome(run, name)
    if about is not None and not about.available:
        reason = about.unavailable_reason or "no reason recorded"
        note = f"unavailable: {reason}" + (
            f". {compiled[0].upper()}{compiled[1:]}" if compiled else ""
        )
        return Entry("not run on a GPU" if compiled else "unavailable", kind="missing", note=note)
    total = sum(counts.values())
    if not total:
        return missing(*run.why(name))
    if counts["ok"] == total:
        return Entry(f"{integer(total)} ok", total)
    others = ", ".join(
        f"{integer(n)} {s.replace('_', ' ')}" for s, n in sorted(counts.items()) if s != "ok"
    )
    severe = any(counts[s] for s in ("failed", "error", "crashed", "timeout", "out_of_memory"))
    declared = [d.reason for d in about.deviations] if about else []
    declares = f"{name} declares: {'; '.join(declared)}" if counts["failed"] and declared else None
    text = f"{integer(counts['ok'])} ok, {others}"
    return Entry(text, kind="bad" if severe else "", note=declares)


def ulp_entry(run: RunData, name: str, dtype: str, operation: str = "softmax") -> Entry:
    """The largest error over all cells of a dtype."""
    records = run.select(AccuracyRecord, implementation=name, dtype=dtype, operation=operation)
    found = worst_error(records)
    if found is None:
        status, reason = run.why(name, records, dtype, operation)
        return missing(status, None if status == "unsupported" else reason)
    failed = [c for c in records if c.status == "failed"]
    left_out = [c for c in records if c.status not in MEASURED]
    note = None
    if left_out:
        cells = plural(len(left_out), "cell")
        note = f"{name}, {dtype}: {cells} not measured: {_reasons(left_out)}"
    ulp, worst_cell = found
    why = ""
    if failed or ulp >= STARTLING or math.isnan(ulp):
        why = shorter(declared(run, name) or worst_cell.reason or f"on {worst_cell.workload}")
    return number(ulp, kind="bad" if failed else "", note=note, detail=why)


def declared(run: RunData, name: str) -> str | None:
    """The first deviation that an implementation declares."""
    about = run.about(name)
    return about.deviations[0].reason if about and about.deviations else None


def _reasons(records: Sequence[AccuracyRecord], limit: int = 3) -> str:
    distinct = list(dict.fromkeys(
        (f"{c.status.replace('_', ' ')}: " if c.status != "failed" else "")
        + (c.reason or "no reason recorded") for c in records
    ))  # fmt: skip
    text = "; ".join(distinct[:limit])
    return text + (f"; and {len(distinct) - limit} more" if len(distinct) > limit else "")


def bound_entry(run: RunData, name: str, operation: str = "softmax") -> Entry:
    """The largest error ÷ bound over all dtypes."""
    records = run.select(AccuracyRecord, implementation=name, operation=operation)
    found = worst(records, lambda c: c.error_over_bound)
    if found is None:
        if measured(records):
            return missing("none declared", None)
        return missing(*run.why(name, records, operation=operation))
    value, c = found
    if value > 1:
        place = f"{c.dtype}, {c.workload}, n = {integer(c.classes or 0)}"
        return Entry(quotient(value), value, "bad", note=f"{name} exceeds its bound: {place}")
    return Entry(quotient(value), value)


def quotient(x: float) -> str:
    """An error ÷ bound; never rounded across 1, on which the verdict hangs."""
    text = figure(x)
    if text == "1.00" and x != 1:
        text = f"{math.floor(1e4 * x) / 1e4:.4f}" if x < 1 else f"{math.ceil(1e4 * x) / 1e4:.4f}"
    return text


def _speed_entries(run: RunData, name: str, point: Headline | None) -> list[Entry]:
    """Bandwidth, share of the limit and ratio to the baseline at the headline point."""
    c, here = headline_record(run, name)
    if c is None:
        return [missing(*why_untimed(run, name, here, point.group.dtype if point else None))] * 3
    speed = timing_entry(c.gbps, c, interval(c.gbps_low, c.gbps_high))
    if c.allocating and speed.note is None:
        speed = replace(speed, note="timed with a newly allocated result, without out=")
    return [
        speed,
        missing("no limit", "no copy was measured at this point") if c.percent_of_limit is None
        else timing_entry(c.percent_of_limit, c),
        missing("no ratio", "no baseline was timed at this point") if c.speedup is None
        else timing_entry(c.speedup, c, interval(c.speedup_low, c.speedup_high)),
    ]  # fmt: skip


def _each_reason_once(entries: Sequence[Entry]) -> list[Entry]:
    """Entries without the details that one before them has."""
    seen: set[str | None] = set()
    found = []
    for entry in entries:
        found.append(replace(entry, detail=None) if entry.detail in seen else entry)
        seen.add(entry.detail)
    return found


def _best(rows: Sequence[list[Entry]], k: int, fair: Container[str], *, least: bool) -> None:
    """Mark the best of a column, of those that are decided, not struck out, and in `fair`."""
    plain = [
        row
        for row in rows
        if not row[k].kind and not row[k].text.startswith("~") and row[0].text in fair
    ]
    if len(plain) < 2:
        return
    pick = min if least else max
    top = pick(plain, key=lambda row: row[k].raw)[k]
    for row in plain:
        if row[k].text == top.text:
            row[k] = replace(row[k], kind="best")


def _on_all_inputs(run: RunData, dtype: str) -> set[str]:
    """Whose errors in a format are of as many cells as those of any other."""
    cells = Counter(c.implementation for c in measured(
        run.select(AccuracyRecord, dtype=dtype, operation="softmax")
    ))  # fmt: skip
    return {name for name, count in cells.items() if count == max(cells.values())}


def matrix(run: RunData, pages: dict[str, str]) -> Table:
    """The results of all that were available, the fastest first.

    Args:
        pages: address of each implementation's page.
    """
    point = headline(run)
    judged = bool(run.select(ConformanceRecord))
    dtypes = [d for d in ULP_DTYPES if d in run.dtypes(AccuracyRecord)]
    mapped = THRESHOLD_DTYPE in run.dtypes(OverflowRecord)
    names = [n for n in fastest_first(run) if (a := run.about(n)) is None or a.available]
    rows: list[list[Entry]] = []
    for name in names:
        row = [Entry(name, name, href=pages.get(name))]
        row += _speed_entries(run, name, point) if point else []
        row += _each_reason_once([ulp_entry(run, name, d) for d in dtypes])
        row += [bound_entry(run, name)] if dtypes else []
        row += [threshold_entry(run, name, THRESHOLD_DTYPE)] if mapped else []
        row += [conformance.overview_entry(run, name)] if judged else []
        rows.append([*row, status_entry(run, name)])
    baseline = next((c.baseline for c in run.select(ThroughputRecord) if c.baseline), "baseline")
    columns = texts("Implementation")
    if point:
        where, again = f"Speed: {point.text}", f"{point.repeat} -i {shlex.quote(baseline)}"
        columns += [
            Column("bandwidth", "GB/s", where, again),
            Column("of the best copy", "%", where, again),
            Column(f"÷ {baseline}", "×", where, again),
        ]
    columns += [
        Column(d, "ulp", "Largest error found", f"--experiment accuracy --dtype {d}")
        for d in dtypes
    ]
    if dtypes:
        columns.append(Column("÷ its bound", "largest", repeat="--experiment accuracy"))
    if mapped:
        columns.append(
            Column("last finite t", f"[t, 0], {THRESHOLD_DTYPE}", repeat="--experiment overflow")
        )
    if judged:
        columns.append(Column("Conformance", repeat="--experiment conformance", numeric=False))
    columns.append(Column("Cells", numeric=False))
    for k, column in enumerate(columns):
        if column.header == "bandwidth":
            _best(rows, k, names, least=False)
        elif column.unit == "ulp":
            _best(rows, k, _on_all_inputs(run, column.header), least=True)
    absent = {"accuracy": not dtypes, "overflow": not mapped, "throughput": point is None}
    notes = [
        prose("matrix", errors=bool(dtypes), mapped=mapped, judged=judged,
              timed=point is not None, absent=[name for name, is_so in absent.items() if is_so]),
    ]  # fmt: skip
    return Table("matrix", "All implementations at a glance", columns, rows, notes,
                 repeat=repeat(run.info))  # fmt: skip
