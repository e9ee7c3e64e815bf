"""The table of a run, with which `run` ends and which `show` prints: what is best, and why not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console

from harness.cli.columns import BEST, MOST, UNJUDGED, Column, columns_of, error_of, number, some
from harness.cli.unavailable import unavailable
from harness.records import AttentionRecord, ClaimRecord, ConformanceRecord, Record
from harness.records.reader import Run, resume_command
from harness.records.timing import TimingRecord
from harness.text import one_line, paragraph, say, table

STARTLING = 1e3
"""Errors in ulps from which a reader asks why: three digits are gone."""


def _capped(lines: Sequence[str], more: str) -> list[str]:
    """The first lines, and how many are left, with where they are."""
    left = len(lines) - MOST
    return [*lines[:MOST], *([f"{left} {more}"] if left > 0 else [])]


def _ordered(names: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """Implementations by the first column with any figure, the best first, without one last."""
    first = next((c for c in columns if any(v.value is not None for v in c.cells.values())), None)

    def place(name: str) -> tuple[bool, float]:
        value = None if first is None else first.cells[name].value
        return value is None, -(value or 0.0)

    return sorted(names, key=place)


def _best(column: Column) -> str:
    """Who is best by how much, and who might be; empty where nobody competes."""
    parts = []
    for sure, word in ((True, ""), (False, "perhaps ")):
        if who := column.near_the_best(sure=sure):
            figure = f"{column.cells[who[0]].text} {column.unit}"
            parts.append(f"{word}{some(who, column.joint)}, {figure}")
    return f"{column.praise}: {' or '.join(parts)}" if parts else ""


def _answer(columns: Sequence[Column]) -> str:
    """What is best, in a sentence; empty where nothing competes."""
    told = [column.told or (_best(column) if column.praise else "") for column in columns]
    text = "; ".join(filter(None, told))
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _why(run: Run, record: Record) -> str:
    """Why an error is large: what was declared, what is wrong, or the bound that allows it."""
    about = next((i for i in run.info.implementations if i.name == record.implementation), None)
    declared = {d.id: d.reason for d in (about.deviations if about is not None else ())}
    if deviation := getattr(record, "deviation", None):
        return "; ".join(declared.get(d, d) for d in deviation.split(", ")) + " (declared)"
    if record.status != "ok":
        return str(getattr(record, "diagnosis", None) or record.reason)
    share = getattr(record, "error_over_bound", None)
    if not share:
        return "no bound says what is allowed"
    return f"the bound of its algorithm allows {number(1 / share)} times as much"


def _startling(run: Run, names: Sequence[str]) -> Iterator[str]:
    """What a reader would ask about, with its reason.

    No figure at all, a time that is not ranked, cases that failed, a large error.
    """
    for name, cell in run.unmeasured.items():
        if cell.status not in UNJUDGED:
            yield f"{name}: nothing was measured, {cell.status}: {one_line(str(cell.reason), 200)}"
    struck: dict[str, list[str]] = defaultdict(list)
    failed: dict[str, list[str]] = defaultdict(list)
    worst: dict[str, tuple[float, Record]] = {}
    for r in run.records:
        if isinstance(r, TimingRecord):
            if r.role == "implementation" and (r.status == "failed" or r.ranked is False):
                struck[r.implementation].append(str(r.reason))
        elif isinstance(r, ConformanceRecord):
            if r.status not in ("ok", *UNJUDGED) and r.implementation in names:
                said = r.diagnosis or r.message or r.reason
                failed[r.implementation].append(f"{r.operation} {r.dtype}, {r.title}: {said}")
        elif r.implementation in names:
            ulp = error_of(r) or 0.0
            if ulp >= STARTLING and ulp > worst.get(r.implementation, (0.0, r))[0]:
                worst[r.implementation] = (ulp, r)
    for what, found in (("timings not ranked", struck), ("failed cases", failed)):
        for name, reasons in found.items():
            first = ", the first" if len(reasons) > 1 else ""
            yield f"{name}: {what} ({len(reasons)}){first}: {one_line(reasons[0], 200)}"
    for name, (ulp, r) in sorted(worst.items(), key=lambda found: -found[1][0]):
        classes = f"{r.classes} classes" if r.classes else None
        where = ", ".join(filter(None, (r.dtype, r.workload, classes)))
        yield f"{name}: {number(ulp)} ulp ({where}): {one_line(_why(run, r), 200)}"


def _legend(columns: Sequence[Column]) -> Iterator[str]:
    """What the columns and the marks in them mean, without those that do not occur."""
    yield from dict.fromkeys(column.about for column in columns)
    texts = " ".join(text for column in columns for text in column.texts.values())
    marks = (f"{BEST} best, or not told apart from it", "~ not known to the precision wanted",
             "! not ranked", "– not measured, or not offered")  # fmt: skip
    if told := "; ".join(mark for mark in marks if mark[0] in texts):
        yield told


def _counts(run: Run) -> str:
    """How the cells ended, in a line."""
    counts = Counter(
        "failed as declared" if r.status == "failed" and getattr(r, "deviation", None)
        else r.status.replace("_", " ")
        for r in run.records
    )  # fmt: skip
    told = sorted(counts.items(), key=lambda kv: (kv[0] != "ok", -kv[1]))
    return "cells: " + (", ".join(f"{n} {status}" for status, n in told) or "none")


def _table(console: Console, names: Sequence[str], columns: Sequence[Column]) -> None:
    """The columns that have room; a line says which have not."""
    shown = {name: one_line(name, 30) for name in names}
    room = console.width - max([len("implementation"), *map(cell_len, shown.values())])
    fitting = list(columns)
    while fitting and sum(2 + c.width for c in fitting) > room:
        fitting.pop()
    texts = [c.texts for c in fitting]
    rows = [(shown[name], *(text[name] for text in texts)) for name in names]
    made = table(("implementation", *(c.head for c in fitting)), rows, right=1, bold=BEST)
    for column in made.columns:
        column.vertical = "bottom"
    for column, c in zip(made.columns[1:], fitting, strict=True):
        column.width = c.width
    console.print(made)
    if left := [c.head for c in columns[len(fitting) :]]:
        paragraph(console, f"no room for: {', '.join(left)}; make the window wider")
    for line in _legend(fitting):
        paragraph(console, line)


def _of_attention(run: Run) -> list[str]:
    """What the experiment of that name found; nothing of a run without it."""
    if not any(isinstance(r, AttentionRecord) for r in run.records):
        return []
    from harness.report.pages import attention  # which takes a second to import
    from harness.report.run_data import from_run

    plain = str.maketrans({"\u202f": " "})  # which few terminals have
    return [told.translate(plain) for told in attention.told(from_run(run, ""))]


def _of_claims(run: Run) -> list[str]:
    """The verdict on each claim of a paper that was reproduced, and what decided it."""
    found = [r for r in run.records if isinstance(r, ClaimRecord)]
    return [
        f"{c.claim}: {c.verdict or c.status}. {c.because or c.reason}"
        for c in found
        if run.info.profile == "reproduce"
    ]


def summary(run: Run, console: Console | None = None) -> None:
    """What is best, the table of all implementations, what startles, and what was not measured.

    Without the columns of what was not measured.
    """
    console = console or Console()
    info = run.info
    begun = info.created[:16].replace("T", " ")
    paragraph(console, f"{info.profile} run {info.id} on {run.machine}, begun {begun} UTC")
    if info.finished is None:
        again = resume_command(info, run.path)
        how = "" if again is None else f"; go on with: {again}"
        say(console, f"not finished: {len(run.records)} of {info.planned_cells} cells{how}")
    if run.problems:
        first, count = one_line(run.problems[0], 200), len(run.problems)
        parts = f"{count} part{'s' * (count != 1)}"
        paragraph(console, f"damaged: {parts} could not be read ({first}); the rest is shown")
    available = [one.name for one in info.implementations if one.available]
    found = columns_of(run, available)
    names = _ordered(available, found)
    answers = [*_of_claims(run), _answer(found), *_of_attention(run)]
    for told in filter(None, answers):
        paragraph(console, told)
    if found:
        say(console, "")
        _table(console, names, found)
        say(console, "")
    for line in _capped(list(_startling(run, names)), "more: see the report"):
        paragraph(console, line)
    absent = {i.name: i.unavailable_reason for i in info.implementations if not i.available}
    if absent:
        paragraph(console, unavailable(absent))
    paragraph(console, _counts(run))
    warnings = sorted(info.warnings, key=lambda w: not w.startswith("timings"))
    for line in _capped(warnings, f"more: see {run.path / 'run.json'}"):
        paragraph(console, f"warning: {one_line(line)}")


def where_the_time_went(run: Run, report: float, console: Console | None = None) -> None:
    """A table of what the run spent its seconds on, the longest first."""
    spent = sorted((run.info.seconds | {"report": report}).items(), key=lambda kv: -kv[1])
    rows = [(what, f"{seconds:.1f}") for what, seconds in spent]
    rows.append(("in all", f"{sum(s for _, s in spent):.1f}"))
    (console or Console()).print(table(("what", "seconds"), rows, right=1))
