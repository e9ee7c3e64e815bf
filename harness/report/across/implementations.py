"""A page for each implementation: the same code in every run and on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.records import ConformanceRecord, ImplementationInfo
from harness.report.across.machines import able, by_machine, commit, key, place_of, title, when
from harness.report.across.page import Page, Part
from harness.report.drawing.formatting import interval, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import slug, slugs
from harness.report.drawing.tables import Column, Entry, Table, count, missing, texts, words
from harness.report.pages.conformance import FAILURES, state_of
from harness.report.pages.overview import ULP_DTYPES, ulp_entry
from harness.report.pages.thresholds import threshold_entry
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import RunData
from harness.report.timing_selection import headline, headline_record, why_untimed

FOLDER = "implementations/"
Row = list[Entry]


def everyone(runs: Sequence[RunData]) -> dict[str, str]:
    """The address of the page of each implementation, by name."""
    names = sorted({name for run in runs for name in run.implementations})
    return {name: f"{FOLDER}{stem}.html" for name, stem in slugs(names).items()}


def _speed(run: RunData, name: str) -> list[Entry]:
    c, here = headline_record(run, name)
    point = headline(run)
    if c is None or point is None:
        gap = missing(*why_untimed(run, name, here, point.group.dtype if point else None))
        return [gap, gap, words("")]
    ratio = (
        missing("no ratio", "no baseline was timed at this point") if c.speedup is None
        else timing_entry(c.speedup, c, interval(c.speedup_low, c.speedup_high))
    )  # fmt: skip
    where = point.text + (f"; baseline {c.baseline}" if c.baseline else "")
    return [ratio, timing_entry(c.gbps, c, interval(c.gbps_low, c.gbps_high)), words(where)]


def _conformance(run: RunData, name: str) -> Entry:
    found = run.select(ConformanceRecord, implementation=name)
    if not found:
        return missing("not judged", "the run has no cases of the catalogue for it")
    failures = sum(state_of(c) in FAILURES for c in found)
    return Entry(plural(failures, "failure"), failures, "bad" if failures else "")


def _row(run: RunData, name: str, page: str) -> Row:
    return [
        words(run.info.id, href=f"../{run.slug}{page}", detail=when(run)),
        words(commit(run.info)),
        *(ulp_entry(run, name, dtype) for dtype in ULP_DTYPES),
        threshold_entry(run, name, "float32"),
        *_speed(run, name),
        _conformance(run, name),
    ]  # fmt: skip


_COLUMNS = [
    *texts("Run", "Commit"),
    *(Column(d, "ulp", group="Largest error") for d in ULP_DTYPES),
    Column("float32", "t", group="Last finite t in [t, 0]"),
    Column("vs baseline", "×", group="Speed at one point"),
    Column("bandwidth", "GB/s", group="Speed at one point"),
    Column("where", numeric=False, group="Speed at one point"),
    Column("Conformance", numeric=False),
]


def _tables(runs: Sequence[RunData]) -> dict[str, list[Table]]:
    """By implementation a table for each machine, newest run first."""
    found: dict[str, list[Table]] = {}
    for machine in by_machine(runs):
        rows: dict[str, list[Row]] = {}
        for run in reversed(machine):  # by run: what is known of one is looked up once
            for name, stem in slugs(run.implementations).items():
                rows.setdefault(name, []).append(_row(run, name, f"{FOLDER}{stem}.html"))
        for name, mine in rows.items():
            of_name = Table(
                f"everywhere-{slug(name)}-{key(machine[-1])}",
                f"{name} on {title(machine[-1])}", _COLUMNS, mine,
            )  # fmt: skip
            found.setdefault(name, []).append(of_name)
    return found


def _where(runs: Sequence[RunData], name: str, ran: Sequence[set[str]]) -> str:
    """On which machines it ran, in a sentence."""
    mine = [run for run, names in zip(runs, ran, strict=True) if name in names]
    if not mine:
        newest = next(r for r in reversed(runs) if name in r.implementations)
        return "It ran in none of these runs: {} ({}).".format(*newest.why(name))
    machines = dict.fromkeys(place_of(run.info) for run in mine)
    return f"It ran in {len(mine)} of {plural(len(runs), 'run')}, on {', '.join(machines)}."


def _about(runs: Sequence[RunData], name: str) -> ImplementationInfo | None:
    """What the newest run that describes it says."""
    return next((found for run in reversed(runs) if (found := run.about(name))), None)


def _facts(about: ImplementationInfo | None) -> list[str]:
    if about is None:
        return []
    formula = [about.formula] if about.formula else []
    declared = [f"Declared deviation {d.id}: {d.reason}" for d in about.deviations]
    return [*formula, f"Source: {about.source or 'none declared'}", *declared]


def pages(runs: Sequence[RunData]) -> Iterator[Page]:
    """The pages, in the order of the names."""
    tables, ran = _tables(runs), [able(run) for run in runs]
    for name, path in everyone(runs).items():
        about = _about(runs, name)
        lead = [about.description if about else "No run describes it.", _where(runs, name, ran)]
        parts = [
            Part("What it is", "about", remarks=_facts(about)),
            Part("In every run", "runs", prose("everywhere"), tables=tables[name]),
        ]
        yield Page(path, name, lead, parts)


def index(runs: Sequence[RunData]) -> Page:
    """The page that lists them."""
    ran = [able(run) for run in runs]
    rows = []
    for name, path in everyone(runs).items():
        about, times = _about(runs, name), sum(name in names for names in ran)
        rows.append([
            words(name, href=path), words(about.description if about else ""),
            count(times, kind="" if times else "quiet"),
        ])  # fmt: skip
    columns = [*texts("Implementation", "What it is"), Column("Runs", "in which it ran")]
    table = Table("everyone", "Implementations of all runs", columns, rows)
    lead = ["Each has a page with its figures in every run and on every machine."]
    parts = [Part("All implementations", "all", tables=[table])]
    return Page("implementations.html", "Implementations", lead, parts)
