"""What stands behind each verdict that is no pass, and the known failures seen again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.cells import Cell, RunData
from harness.report.conformance import (
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
from harness.report.names import upstream
from harness.report.numbers import figure, integer, plural
from harness.report.tables import Column, Entry, Table, words

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


def replay(run: RunData, record: Cell) -> str:
    """The command that judges these cases again."""
    options = {
        "-i": record["implementation"], "--operation": record.get("operation"),
        "--dtype": record.get("dtype"), "--profile": run.info.profile,
        "--seed": record.get("seed"),
    }  # fmt: skip
    given = [w for k, v in options.items() if v is not None for w in (k, str(v))]
    return shlex.join(["softmax-bench", "run", "--experiment", "conformance", *given])


def _ulps(value: object) -> str:
    return figure(float(str(value)))


def _facts(record: Cell) -> list[tuple[str, str, bool]]:
    facts: list[tuple[str, str, bool]] = []
    message, reason = record.get("message"), record.get("reason")
    if message:
        facts.append(("Message", str(message), False))
    if reason and reason != message:
        facts.append(("Reason", str(reason), False))
    if record.get("deviation"):
        why = record.get("deviation_reason") or "no reason recorded"
        facts.append(("Declared", f"{record['deviation']}: {why}", False))
    given = record.get("case_input")
    if given:
        count = f" ({integer(len(given))} elements)" if len(given) > 1 else ""
        facts.append((f"Input{count}", ", ".join(str(v) for v in given), True))
    for term, key in (("Got", "got"), ("Expected", "expected")):
        if record.get(key) is not None:
            facts.append((term, str(record[key]), True))
    error, allowed = record.get("error_ulp"), record.get("allowed_ulp")
    if error is not None:
        facts.append(("Error", f"{_ulps(error)} ulp", False))
    if allowed is not None:
        facts.append(("Allowed", f"{_ulps(allowed)} ulp", False))
    if record.get("outcome"):
        facts.append(("Outcome", str(record["outcome"]), False))
    if record.get("observations"):
        facts.append(("Observations", integer(int(record["observations"])), False))
    return facts


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
                    str(c.get("dtype")), STATES[state_of(c)], _facts(c),
                    [str(o) for o in c.get("others") or ()], replay(run, c),
                )
                for c in cells
            ]  # fmt: skip
            found.append(Detail(
                anchor(grid.operation, case, name), STATES[worst_state(cells)], name, case,
                grid.title(case), instances, _links(cells),
            ))  # fmt: skip
    return found


def _links(cells: Sequence[Cell]) -> tuple[tuple[str, str | None], ...]:
    given = dict.fromkeys(str(u) for c in cells for u in c.get("upstream") or ())
    return tuple(upstream(u) for u in given)


def numbers_of(record: Cell) -> set[int]:
    """The catalogue's numbers that a case covers: its own, and those its title adds."""
    found = {int(n) for text in _TOO.findall(str(record.get("title") or ""))
             for n in text.split(", ")}  # fmt: skip
    return found | ({int(record["number"])} if record.get("number") is not None else set())


def known(run: RunData) -> Table | None:
    """Known failures: who shows them here, with input and value; or that nobody does."""
    rows = []
    for grid in grids(run):
        for case in sorted(grid.cases, key=lambda k: _first_number(grid, k)):
            cells = [c for (k, _), cs in grid.at.items() if k == case for c in cs]
            numbers = set().union(*(numbers_of(c) for c in cells))
            if not (numbers & set(KNOWN) or any(c.get("upstream") for c in cells)):
                continue
            rows += _known_rows(grid, case, cells, numbers)
    if not rows:
        return None
    headers = ("Number", "Case", "Operation", "Implementation", "Format", "Verdict", "Input",
               "Got", "Expected", "Upstream")  # fmt: skip
    columns = [Column(h, numeric=False) for h in headers]
    notes = [
        "Cases under which established libraries are known to fail, by number of the catalogue, "
        "and those with a public issue. Found here by the same judge as all others. A link is "
        "to where the matter was reported, not a judgement on who is right."
    ]
    return Table("conformance-known", "Known failures, seen again or not", columns, rows, notes)


def _first_number(grid: Grid, case: str) -> int:
    numbers = [n for (k, _), cs in grid.at.items() if k == case for c in cs for n in numbers_of(c)]
    return min(numbers, default=1000)


def _known_rows(
    grid: Grid, case: str, cells: Sequence[Cell], numbers: set[int]
) -> list[list[Entry]]:
    number = ", ".join(str(n) for n in sorted(numbers)) or "–"
    links = _links(cells)
    head = [words(number), words(grid.title(case) or case), words(grid.operation)]
    reported = Entry(", ".join(t for t, _ in links) or "–", links=links)
    seen = []
    for name in grid.names:
        mine = grid.at.get((case, name), ())
        showing = [c for c in mine if state_of(c) in SHOWN and state_of(c) != "unexpected_pass"]
        if not showing:
            continue
        key = worst_state(showing)
        c = next(c for c in showing if state_of(c) == key)
        state = STATES[key]
        dtypes = ", ".join(str(c.get("dtype")) for c in showing)
        href = f"#{anchor(grid.operation, case, name)}"
        seen.append([
            *head, words(name), words(dtypes), Entry(state.text, state.word, state.kind, href=href),
            _short(c.get("case_input")), words(c.get("got") or c.get("message")),
            words(c.get("expected")), reported,
        ])  # fmt: skip
    if seen:
        return seen
    judged = sorted({str(c["implementation"]) for c in cells if state_of(c) in JUDGED})
    gap = words("")
    if judged:
        who, verdict = f"none of {len(judged)} judged", Entry("✓ not seen", "not seen", "pass")
    else:
        reasons = dict.fromkeys(str(c.get("reason") or "no reason recorded") for c in cells)
        who = "none judged"
        verdict = Entry("… not judged", "not judged", "unjudged", "; ".join(list(reasons)[:3]))
    return [[*head, words(who), gap, verdict, gap, gap, gap, reported]]


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
                text = c.get("message") or c.get("reason") or ""
                rows.append([
                    words(case, detail=grid.title(case) or None), words(grid.operation),
                    words(c.get("dtype")), Entry(state.text, state.word, state.kind, href=href),
                    words(c.get("outcome")), words(text), words(c.get("deviation")),
                ])  # fmt: skip
    if not rows:
        return None
    headers = ("Case", "Operation", "Format", "Verdict", "Outcome", "Message", "Deviation")
    columns = [Column(h, numeric=False) for h in headers]
    failures = sum(r[3].raw in {STATES[s].word for s in FAILURES} for r in rows)
    caption = f"Cases that are no pass: {len(rows)}, of which {plural(failures, 'failure')}"
    return Table("no-pass", caption, columns, rows)
