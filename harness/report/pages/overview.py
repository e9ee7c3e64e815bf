"""The results matrix of the overview: one line an implementation, the figures that decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.records import AccuracyRecord, ConformanceRecord, ThroughputRecord
from harness.report.drawing.formatting import figure, integer, interval, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Column, Entry, Table, missing, number, texts
from harness.report.pages import conformance
from harness.report.pages.thresholds import threshold_entry
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import MEASURED, RunData, measured, worst, worst_error
from harness.report.timing_selection import (
    Headline,
    at_point,
    headline,
    headline_record,
    timed,
    why_untimed,
)

ULP_DTYPES = ("float64", "float32", "float16", "bfloat16")
THRESHOLD_DTYPES = ("float64", "float32", "float16")


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
        return missing(*run.why(name, records, dtype, operation))
    failed = [c for c in records if c.status == "failed"]
    left_out = [c for c in records if c.status not in MEASURED]
    note = None
    if failed or left_out:
        which, told = (failed, "failed") if failed else (left_out, "not measured")
        note = f"{name}, {dtype}: {plural(len(which), 'cell')} {told}: {_reasons(which)}"
    return number(found[0], kind="bad" if failed else "", note=note)


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
            return missing("no bound", "no error bound is declared for this implementation")
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


def matrix(run: RunData, pages: dict[str, str]) -> Table:
    """The results matrix.

    Args:
        pages: address of each implementation's page.
    """
    point = headline(run)
    judged = bool(run.select(ConformanceRecord))
    rows = []
    for name in run.implementations:
        row = [Entry(name, name, href=pages.get(name))]
        row += [ulp_entry(run, name, d) for d in ULP_DTYPES]
        row.append(bound_entry(run, name))
        row += [threshold_entry(run, name, d) for d in THRESHOLD_DTYPES]
        row += _speed_entries(run, name, point)
        if judged:
            row.append(conformance.overview_entry(run, name))
        row.append(status_entry(run, name))
        rows.append(row)
    named = (c.baseline for c in run.select(ThroughputRecord) if c.baseline)
    baseline = next(named, "the baseline")
    columns = texts("Implementation")
    columns += [Column(d, "ulp", group="Largest error") for d in ULP_DTYPES]
    columns.append(Column("÷ bound", "largest"))
    columns += [Column(d, "t", group="Last finite t in [t, 0]") for d in THRESHOLD_DTYPES]
    regime = point.regime if point else "streaming"
    columns += [
        Column("bandwidth", "GB/s", group=f"Throughput, {regime}"),
        Column("of limit", "%", group=f"Throughput, {regime}"),
        Column(f"vs {baseline}", "×", group=f"Throughput, {regime}"),
    ]  # fmt: skip
    if judged:
        columns.append(Column("Conformance", numeric=False))
    columns.append(Column("Cells", numeric=False))
    notes = [prose("matrix_errors"), prose("matrix_thresholds")]
    if point:
        here = at_point(timed(run, point.group), point.regime, point.classes)
        fits = "; ".join(sorted({c.fits for c in here if c.fits}))
        workload = point.group.workload
        notes.append(prose("matrix_throughput", where=point.text, workload=workload, fits=fits))
    if judged:
        notes.append(prose("matrix_conformance"))
    return Table("matrix", "All implementations at a glance", columns, rows, notes)
