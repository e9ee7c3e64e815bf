"""Pages of comparisons: each run against the one before it.

The comparison itself is a room beside this one (docs/architecture.md): whoever asks for a site
hands its functions in, as a `Judge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.records import Record
from harness.records.reader import Run
from harness.report.across.machines import (
    by_machine,
    commit,
    experiments,
    head,
    key,
    place_of,
    title,
    when,
)
from harness.report.across.page import Block, Page, Part
from harness.report.drawing.formatting import duration, figure, integer, interval
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import readable
from harness.report.drawing.tables import (
    Column,
    Entry,
    Kind,
    Table,
    count,
    missing,
    texts,
    words,
)
from harness.report.run_data import RunData

MOST = 200
"""Rows of cells on a page; the CSV has all."""

VERDICTS: Mapping[str, tuple[str, Kind]] = {
    "worse": ("✗\u00a0worse", "failure"),
    "inconclusive": ("…\u00a0inconclusive", "unjudged"),
    "better": ("✓\u00a0better", "best"),
    "equivalent": ("=\u00a0equivalent", "quiet"),
    "nothing": ("·\u00a0nothing comparable", "unjudged"),
}


class Judge(NamedTuple):
    """The functions of `harness.comparison` that these pages need.

    Attributes:
        compare: two runs and None, or one run twice and a name for each side; their comparison.
        headline: its verdict in a line.
        method: how it was reached.
        to_markdown: all of it for a pull request.
        where: the coordinates of a record as items of a comparison have them.
    """

    compare: Callable[[Run, Run, tuple[str, str] | None], Any]
    headline: Callable[[Any], str]
    method: Callable[[Any], str]
    to_markdown: Callable[[Any], str]
    where: Callable[[Record], str]


def predecessors(runs: Sequence[RunData]) -> dict[str, RunData]:
    """The run that each is compared with, by folder of the newer one.

    On the same machine the last before it that measured any of the same experiments, for the same
    paper if it reproduces one; of the same profile, where there is one.
    """
    found = {}
    for machine in by_machine(runs):
        for k, run in enumerate(machine):
            mine = set(experiments(run))
            paper = run.info.filters.get("paper")
            before = [
                r
                for r in machine[:k]
                if mine.intersection(experiments(r)) and r.info.filters.get("paper") == paper
            ]
            alike = [r for r in before if r.info.profile == run.info.profile]
            if before:
                found[run.slug] = (alike or before)[-1]
    return found


def verdict_entry(verdict: str, href: str | None = None) -> Entry:
    text, kind = VERDICTS.get(verdict, (verdict, ""))
    return Entry(text, verdict, kind, href=href)


def _figure(value: Any, unit: str) -> Entry:
    if value is None or isinstance(value, str):
        return words(value)
    text = duration(value) if unit == "ns" else f"{figure(value)} {unit}".strip()
    return Entry(text, value)


def _ratio(item: Any) -> Entry:
    if item.ratio is None:
        return words("")
    return Entry(figure(item.ratio), item.ratio, detail=interval(item.low, item.high))


@dataclass(frozen=True)
class LongTable(Table):
    """A table of which the page shows the first rows, and the CSV all."""

    @property
    def shown(self) -> list[Sequence[Entry]]:
        return super().shown[:MOST]


def _cells(found: Any) -> Table:
    """Every cell that is worse or better."""
    rows = [
        [
            verdict_entry(i.verdict), words(i.experiment), words(i.implementation), words(i.where),
            words(i.figure), _figure(i.base, i.unit), _figure(i.new, i.unit), _ratio(i),
            words(i.reason),
        ]
        for i in found.items
        if i.verdict in ("worse", "better")
    ]  # fmt: skip
    columns = [
        *texts("Verdict", "Experiment", "Implementation", "Cell", "Figure"), Column("Base"),
        Column("New"), Column("New ÷ base", "95%"), *texts("Why"),
    ]  # fmt: skip
    more = len(rows) - MOST
    notes = [f"{integer(more)} more stand in the CSV."] if more > 0 else []
    return LongTable("changed", "Cells that are worse or better", columns, rows, notes)


def _counts(found: Any) -> Table:
    """How many cells have each verdict, by implementation and experiment."""
    counts = Counter((i.implementation, i.experiment, i.verdict) for i in found.items)
    verdicts = [v for v in VERDICTS if v != "nothing"]
    rows = []
    for name, experiment in dict.fromkeys((n, e) for n, e, _ in sorted(counts)):
        numbers = [counts[name, experiment, v] for v in verdicts]
        rows.append([words(name), words(experiment),
                     *(count(n, kind="" if n else "quiet") for n in numbers)])  # fmt: skip
    columns = [*texts("Implementation", "Experiment"), *(Column(VERDICTS[v][0]) for v in verdicts)]
    return Table("counts", "Verdicts by implementation and experiment", columns, rows)


def _open(found: Any) -> Table:
    """What is inconclusive, gathered, with the reason of the first cell."""
    gathered: dict[tuple[str, str], list[Any]] = {}
    for i in found.items:
        if i.verdict == "inconclusive":
            gathered.setdefault((i.implementation, i.experiment), []).append(i)
    rows = [
        [words(name), words(experiment), count(len(items)), words(items[0].where),
         words(items[0].reason)]
        for (name, experiment), items in gathered.items()
    ]  # fmt: skip
    columns = [*texts("Implementation", "Experiment"), Column("Cells"), *texts("Such as", "Why")]
    return Table("open", "Inconclusive", columns, rows)


def _lacking(found: Any) -> Table:
    counts = Counter((m.side, m.experiment, m.reason) for m in found.missing)
    rows = [[words(side), words(experiment), words(reason), count(n)]
            for (side, experiment, reason), n in counts.items()]  # fmt: skip
    columns = [*texts("Side", "Experiment", "Reason"), Column("Cells")]
    return Table("lacking", "Cells that one side lacks", columns, rows)


def folder_of(run: RunData) -> str:
    """Of the comparison of a run with the one before it."""
    return f"compare/{run.slug}"


def two_runs(judge: Judge, base: Run, new: Run, folder: str) -> tuple[Page, dict[str, Any]]:
    """The page of a comparison, and what the page that lists them says of it."""
    found = judge.compare(base, new, None)
    labels = [f"{place_of(r.info)}, {r.info.id} ({r.info.profile}, commit {commit(r.info)})"
              for r in (base, new)]  # fmt: skip
    cells = _cells(found)
    lead = [f"The new run against the base: {judge.headline(found)}.",
            f"New: {labels[1]}. Base: {labels[0]}.", judge.method(found)]  # fmt: skip
    tables = [t for t in (_counts(found), _lacking(found)) if t.rows]
    shown = [t for t in (cells, _open(found)) if t.rows]
    markdown = Block("markdown-text", "For a pull request", readable(judge.to_markdown(found)))
    parts = [
        Part("What differs", "differs", tables=shown),
        Part("What else is to know", "notes", remarks=found.notes),
        Part("All cells, counted", "counted", folded=tables),
        Part("As Markdown", "markdown", blocks=[markdown]),
    ]
    page = Page(f"{folder}index.html", f"{found.verdict}: {new.info.id} against {base.info.id}",
                lead, parts, folder)  # fmt: skip
    told = {
        "verdict": found.verdict,
        "headline": judge.headline(found),
        "counts": dict(found.counts),
    }
    return page, told


Told = Mapping[str, Mapping[str, Any]]
"""What `two_runs` said of each comparison, by folder of the newer run."""


def _row(run: RunData, base: RunData | None, told: Told) -> list[Entry]:
    if base is None:
        gap = missing("none", "no earlier run of this machine measured the same")
        return [head(run), *[gap] * (len(_COLUMNS) - 1)]
    found = told[run.slug]
    counts = [found["counts"].get(v, 0) for v in VERDICTS if v != "nothing"]
    return [
        head(run), verdict_entry(found["verdict"], f"{folder_of(run)}index.html"),
        words(base.info.id, href=f"{base.slug}index.html", detail=when(base)),
        words(f"{commit(base.info)} → {commit(run.info)}"),
        *(count(n, kind="" if n else "quiet") for n in counts),
    ]  # fmt: skip


def _answer(machine: Sequence[RunData], before: Mapping[str, RunData], told: Told) -> str:
    """The verdict on the newest run of a machine that has one."""
    run = next((r for r in reversed(machine) if r.slug in before), None)
    if run is None:
        return f"{title(machine[0])}: no two runs measured the same."
    times = f"the run of {when(run)} against that of {when(before[run.slug])}"
    return f"{title(run)}, {times}: {told[run.slug]['headline']}."


def page(runs: Sequence[RunData], told: Told, pairs: Mapping[str, str]) -> Page:
    """The page that lists all comparisons.

    Args:
        pairs: pages on which the implementations of a run are compared, by folder of the run.
    """
    before, machines = predecessors(runs), by_machine(runs)
    parts = []
    for machine in machines:
        rows = [_row(run, before.get(run.slug), told) for run in reversed(machine)]
        name = title(machine[0])
        caption = f"{name}: each run against the one before it, newest first"
        table = Table(f"compared-{key(machine[0])}", caption, _COLUMNS, rows)
        parts.append(Part(name, f"on-{key(machine[0])}", tables=[table]))
    links = [
        [head(run), words(title(run)), words("who is faster than whom", href=pairs[run.slug])]
        for run in runs
        if run.slug in pairs
    ]
    caption = "In the run of each machine that timed most implementations"
    table = Table("pairs", caption, texts("Run", "Machine", "Page"), links)
    parts.append(Part("Implementations against each other", "against-each-other",
                      tables=[table] if links else ()))  # fmt: skip
    lead = [*(_answer(machine, before, told) for machine in machines), prose("compared_lead")]
    return Page("compare.html", "Comparisons", lead, parts)


_COLUMNS = [
    *texts("Run", "Verdict", "Against", "Commits"),
    *(Column(text, "cells") for verdict, (text, _) in VERDICTS.items() if verdict != "nothing"),
]
