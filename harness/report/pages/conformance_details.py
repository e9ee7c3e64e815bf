"""What stands behind each verdict that is no pass, and the known failures seen again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import ConformanceRecord
from harness.report.drawing.formatting import figure, integer, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import upstream
from harness.report.drawing.tables import Entry, Table, texts, words
from harness.report.pages.conformance import (
    FAILURES,
    JUDGED,
    SHOWN,
    STATES,
    Grid,
    State,
    anchor,
    grids,
    state_of,
    worst_state,
)
from harness.report.run_data import RunData

KNOWN = (15, 25, 26, 42, 43, 54, 58, 60)
"""Numbers of the catalogue under which established libraries are known to fail."""
_TOO = re.compile(r"\(?(\d+(?:, \d+)*) too\)")


@dataclass(frozen=True)
class Instance:
    """A verdict in one format, as (term, text) pairs; `code` says which texts are numbers."""

    dtype: str
    state: State
    facts: Sequence[tuple[str, str, bool]]
    others: Sequence[str]
    replay: str


@dataclass(frozen=True)
class Detail:
    """The verdicts on a case, an implementation and an operation that are no pass."""

    id: str
    state: State
    implementation: str
    case: str
    title: str
    instances: Sequence[Instance]
    links: Sequence[tuple[str, str | None]]


def replay(run: RunData, record: ConformanceRecord) -> str:
    """The command that judges these cases again."""
    options = {
        "-i": record.implementation, "--operation": record.operation, "--dtype": record.dtype,
        "--profile": run.info.profile, "--seed": record.seed,
    }  # fmt: skip
    given = [w for k, v in options.items() if v is not None for w in (k, str(v))]
    return shlex.join(["softmax-bench", "run", "--experiment", "conformance", *given])


def _facts(c: ConformanceRecord) -> list[tuple[str, str, bool]]:
    given = c.case_input or ()
    elements = f" ({integer(len(given))} elements)" if len(given) > 1 else ""
    declared = f"{c.deviation}: {c.deviation_reason or 'no reason recorded'}"
    facts = (
        ("Message", c.message or None, False),
        ("Reason", c.reason if c.reason and c.reason != c.message else None, False),
        ("Declared", declared if c.deviation else None, False),
        (f"Input{elements}", ", ".join(given) or None, True),
        ("Got", c.got, True),
        ("Expected", c.expected, True),
        ("Error", None if c.error_ulp is None else f"{figure(c.error_ulp)} ulp", False),
        ("Allowed", None if c.allowed_ulp is None else f"{figure(c.allowed_ulp)} ulp", False),
        ("Outcome", c.outcome, False),
        ("Observations", integer(c.observations) if c.observations else None, False),
    )
    return [(term, text, code) for term, text, code in facts if text is not None]


def details(run: RunData, grid: Grid) -> list[Detail]:
    """In the order of the matrix: by case, then by implementation."""
    found = []
    for case in grid.cases:
        for name in grid.names:
            cells = [c for c in grid.at.get((case, name), ()) if state_of(c) in SHOWN]
            if not cells:
                continue
            instances = [
                Instance(
                    str(c.dtype), STATES[state_of(c)], _facts(c),
                    c.others or (), replay(run, c),
                )
                for c in cells
            ]  # fmt: skip
            found.append(Detail(
                anchor(grid.operation, case, name), STATES[worst_state(cells)], name, case,
                grid.title(case), instances, links_of(cells),
            ))  # fmt: skip
    return found


def links_of(cells: Sequence[ConformanceRecord]) -> tuple[tuple[str, str | None], ...]:
    given = dict.fromkeys(u for c in cells for u in c.upstream or ())
    return tuple(upstream(u) for u in given)


def numbers_of(record: ConformanceRecord) -> set[int]:
    """The catalogue's numbers that a case covers: its own, and those its title adds."""
    added = {int(n) for text in _TOO.findall(record.title or "") for n in text.split(", ")}
    return added if record.number is None else {record.number, *added}


def known(run: RunData) -> Table | None:
    """Known failures: who shows them here, with input and value; or that nobody does."""
    by_case: dict[str, list[Grid]] = {}
    for grid in grids(run):
        for case in grid.cases:
            by_case.setdefault(case, []).append(grid)
    found = []
    for case, where in by_case.items():
        cells = [c for grid in where for c in grid.all_of(case)]
        numbers: set[int] = set().union(*(numbers_of(c) for c in cells))
        if numbers & set(KNOWN) or any(c.upstream for c in cells):
            seen, rest = _known_rows(case, where, sorted(numbers))
            found.append((not seen, min(numbers, default=1000), [*seen, *rest]))
    rows = [row for _, _, group in sorted(found, key=lambda f: f[:2]) for row in group]
    columns = texts("Number", "Case", "Operation", "Implementation", "Format", "Verdict", "Input",
                    "Got", "Expected", "Upstream")  # fmt: skip
    caption = "Known failures, seen again or not"
    return Table("conformance-known", caption, columns, rows, [prose("known_failures")]).or_none()


def _known_rows(
    case: str, where: Sequence[Grid], numbers: Sequence[int]
) -> tuple[list[list[Entry]], list[list[Entry]]]:
    """A row for everyone who shows it; then one for the operations in which nobody does."""
    cells = [c for grid in where for c in grid.all_of(case)]
    links = links_of(cells)
    head = [words(", ".join(map(str, numbers)) or "–"), words(where[0].title(case) or case)]
    reported = Entry(", ".join(t for t, _ in links) or "–", links=links)
    seen: list[list[Entry]] = []
    elsewhere: list[Grid] = []
    for grid in where:
        rows = [r for n in grid.names if (r := _seen(grid, case, n)) is not None]
        seen += [[*head, words(grid.operation), *r, reported] for r in rows]
        if not rows:
            elsewhere.append(grid)
    judged = [g for g in elsewhere if any(state_of(c) in JUDGED for c in g.of(case))]
    if seen and not judged:
        return seen, []
    if judged:
        who = {c.implementation for g in judged for c in g.of(case)
               if state_of(c) in JUDGED}  # fmt: skip
        shown, verdict = f"none of {len(who)} judged", Entry("✓ not seen", "not seen", "pass")
    else:
        reasons = dict.fromkeys(str(c.reason or "no reason recorded") for c in cells)
        verdict = Entry("… not judged", "not judged", "unjudged", "; ".join(list(reasons)[:3]))
        shown = "none judged"
    operations = words(", ".join(g.operation for g in judged or elsewhere))
    gap = words("")
    return seen, [[*head, operations, words(shown), gap, verdict, gap, gap, gap, reported]]


def _seen(grid: Grid, case: str, name: str) -> list[Entry] | None:
    """Who, format, verdict, input, got and expected; None where the implementation passes."""
    mine = grid.at.get((case, name), ())
    showing = [c for c in mine if state_of(c) in SHOWN and state_of(c) != "unexpected_pass"]
    if not showing:
        return None
    key = worst_state(showing)
    c = next(c for c in showing if state_of(c) == key)
    state = STATES[key]
    return [
        words(name), words(", ".join(str(c.dtype) for c in showing)),
        Entry(state.text, state.word, state.kind,
              href=f"#{anchor(grid.operation, case, name)}"),
        _short(c.case_input), _cut(str(c.got or c.message or "")),
        words(c.expected),
    ]  # fmt: skip


def _cut(text: str, limit: int = 70) -> Entry:
    return Entry(text if len(text) <= limit else f"{text[: limit - 1]}…", text)


def _short(given: Sequence[object] | None, limit: int = 4) -> Entry:
    """An input for a table: all of it in the CSV, its first elements on the page."""
    if not given:
        return words("")
    text = ", ".join(str(v) for v in given)
    shown = ", ".join(str(v) for v in given[:limit])
    return Entry(shown + (", …" if len(given) > limit else ""), text)


def of_implementation(run: RunData, name: str, base: str) -> Table | None:
    """The cases of an implementation that are no pass, each with a link to what stands behind."""
    rows = []
    for grid in grids(run):
        for case in grid.cases:
            mine = [c for c in grid.at.get((case, name), ()) if state_of(c) in SHOWN]
            for c in mine:
                state = STATES[state_of(c)]
                href = f"{base}conformance.html#{anchor(grid.operation, case, name)}"
                text = c.message or c.reason or ""
                rows.append([
                    words(case, detail=grid.title(case) or None), words(grid.operation),
                    words(c.dtype), Entry(state.text, state.word, state.kind, href=href),
                    words(c.outcome), words(text), words(c.deviation),
                ])  # fmt: skip
    columns = texts("Case", "Operation", "Format", "Verdict", "Outcome", "Message", "Deviation")
    failures = sum(r[3].raw in {STATES[s].word for s in FAILURES} for r in rows)
    caption = f"Cases that are no pass: {len(rows)}, of which {plural(failures, 'failure')}"
    return Table("no-pass", caption, columns, rows).or_none()
