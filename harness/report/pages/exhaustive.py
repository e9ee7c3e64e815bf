"""The page of what was judged whole: a table for each domain, the histograms behind it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.numerics.metrics import HISTOGRAM_KEYS
from harness.records import ExhaustiveRecord
from harness.report.drawing.formatting import apart, figure, integer
from harness.report.drawing.tables import Column, Entry, Table, count, missing, number, texts, words
from harness.report.run_data import RunData, ordered

TITLES = {
    "pairs": (
        "Two classes",
        "softmax([a, b]) for all finite a and b, against certified thresholds",
    ),
    "line": ("One logit", "softmax([t, 0]) for all finite t"),
    "constant": ("Equal logits", "n equal logits: 1/n, rounded, is due in every place"),
    "float8": ("Three classes in float8", "softmax([a, b, c]) for all finite a, b and c"),
    "exp_order": (
        "The exponential",
        "the exponential of every number in its range: a larger argument with a smaller value is "
        "an inversion; errors against float64",
    ),
    "triples": ("Three classes in 16 bits, drawn", "softmax([a, b, c]) for 2³⁰ drawn triples"),
    "bounds": (
        "Bounds of error",
        "2³⁰ drawn rows, each result against the error bound of its algorithm; error / bound "
        "leaves out what is correctly rounded",
    ),
}


_WORDS = ("first", "at", "beyond it")
"""Figures that are no numbers."""


def tables_of(run: RunData) -> list[str]:
    """The tables that the run has, in the order of this page."""
    return ordered((str(c.table) for c in run.select(ExhaustiveRecord)), list(TITLES))


def records_of(run: RunData, table: str) -> list[ExhaustiveRecord]:
    """The records of a table."""
    return [c for c in run.select(ExhaustiveRecord) if str(c.table) == table]


def title(table: str) -> str:
    return TITLES.get(table, (table, ""))[0]


def judged_table(run: RunData, table: str) -> Table:
    """Implementation × format: rows, largest error, misrounded, the worst input, seconds."""
    found = records_of(run, table)
    errors = table != "exp_order"
    keys = list(dict.fromkeys(k for c in found for k in c.figures or {}))
    columns = [*texts("Implementation", "Format"), Column("Rows judged")]
    if errors:
        columns += [
            Column("Largest error", "ulp"), Column("Misrounded", "by output"),
            Column("Wrong", "results"),
        ]  # fmt: skip
    columns += [Column(k[:1].upper() + k[1:], numeric=k not in _WORDS) for k in keys]
    if errors:
        columns += texts("Worst input", "Got", "Expected")
    columns += [Column("Time", "s"), Column("Workers")]
    rows = [_row(c, errors, keys, len(columns)) for c in found]
    note = "Inputs and values are hexadecimal; an error is against the unrounded exact value."
    caption = TITLES.get(table, (table, ""))[1] or table
    return Table(f"exhaustive-{table}", caption, columns, rows, [note] if errors else [])


def _row(c: ExhaustiveRecord, errors: bool, keys: Sequence[str], width: int) -> list[Entry]:
    row = [words(c.implementation), words(c.dtype, note=c.rounding)]
    if not c.judged:
        gap = missing(c.status, c.reason)
        return row + [gap] * (width - len(row))
    row.append(_judged(c, c.judged))
    figures = c.figures or {}
    if errors:
        wrong = (c.ulp_histogram or {}).get("wrong", 0)
        row += [_largest(c), _misrounded(c), count(wrong, kind="bad" if wrong else "quiet")]
    row += [_figure(figures.get(k)) for k in keys]
    if errors:
        row += [_worst(c), words(c.worst_got), words(c.worst_expected)]
    workers = Entry("one a core", "") if c.workers is None else count(c.workers)
    if c.host is not None:
        workers = words(f"on {c.host}")
    return [*row, number(c.elapsed_s), workers]


def _judged(c: ExhaustiveRecord, judged: int) -> Entry:
    if c.exhaustive:
        return Entry(f"all {integer(judged)}", judged)
    note = None if c.status == "ok" else f"{c.status}: {c.reason or 'no reason recorded'}"
    detail = "all that were drawn" if judged == c.total else f"of {integer(c.total or 0)}"
    return count(judged, kind="bad" if note else "", note=note, detail=detail)


def _largest(c: ExhaustiveRecord) -> Entry:
    if c.max_ulp is None:
        return Entry("–", "")
    said = "true maximum" if c.exhaustive else "lower bound"
    return Entry(apart(c.max_ulp, 0.5, 6), c.max_ulp, detail=said)  # beyond 0.5 it is misrounded


def _misrounded(c: ExhaustiveRecord) -> Entry:
    counts = c.misrounded or ()
    return Entry(" + ".join(map(integer, counts)) or "–", " + ".join(map(str, counts)))


def _figure(value: object) -> Entry:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return words("–" if value is None else value)
    return Entry(integer(value) if isinstance(value, int) else figure(value), value)


def _worst(c: ExhaustiveRecord) -> Entry:
    if not c.worst_logits:
        return words("–")
    text = ", ".join(c.worst_logits)
    if c.worst_repeat:
        return Entry(f"{text} × {integer(c.worst_repeat)}", f"{text} x {c.worst_repeat}")
    return Entry(f"[{text}], class {c.worst_class}", text)


def histogram(run: RunData, table: str) -> Table | None:
    """Results by class of error; None for a table that measures none."""
    rows = []
    for c in records_of(run, table):
        if c.ulp_histogram:
            counts = [c.ulp_histogram.get(k, 0) for k in HISTOGRAM_KEYS]
            rows.append([words(c.implementation), words(c.dtype),
                         *(count(n, kind="" if n else "quiet") for n in counts)])  # fmt: skip
    columns = texts("Implementation", "Format")
    columns += [Column(k.replace("<=", "≤"), "" if k == "wrong" else "ulp") for k in HISTOGRAM_KEYS]
    caption = f"Results by class of error, {title(table).lower()}"
    return Table(f"exhaustive-{table}-histogram", caption, columns, rows).or_none()


def told(run: RunData) -> str | None:
    """The least and the most misrounded of the pairs, in a sentence; None where there are none."""
    parts = []
    for dtype in run.dtypes(ExhaustiveRecord):
        records = [c for c in records_of(run, "pairs") if c.dtype == dtype and c.exhaustive]
        counts = {c.implementation: sum(c.misrounded or ()) for c in records}
        if counts:
            listed = ", ".join(
                f"{n} {integer(k)}" for n, k in sorted(counts.items(), key=lambda p: (p[1], p[0]))
            )
            parts.append(f"of all {integer(records[0].judged or 0)} pairs of {dtype}, misrounded "
                         f"results: {listed}")  # fmt: skip
    if not parts:
        return None
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."
