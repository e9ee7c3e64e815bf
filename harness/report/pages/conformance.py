"""Conformance as the report reads it: the state of a case, its words, the matrix and the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.records import ConformanceRecord
from harness.records.conformance import DEVIATIONS
from harness.report.drawing.formatting import integer, plural
from harness.report.drawing.sanitize import slug
from harness.report.drawing.tables import Column, Entry, Kind, Table, count, missing, texts, words
from harness.report.run_data import DTYPES, RunData, ordered

OPERATIONS = ("softmax", "log_softmax", "logsumexp", "softmax_backward", "cross_entropy")


@dataclass(frozen=True)
class State:
    """How a case ended: its word, the symbol beside it, and how it is coloured."""

    word: str
    symbol: str
    kind: Kind
    meaning: str

    @property
    def text(self) -> str:
        return f"{self.symbol} {self.word}"


STATES: Mapping[str, State] = {  # the most serious first
    "crashed": State("crashed", "☒", "failure", "the process died or hung"),
    "failure": State("failure", "✗", "failure", "contradicts mathematics or the contract"),
    "unexpected_pass": State(
        "unexpected pass", "▲", "failure",
        "a deviation is declared, yet every case that it would explain passes",
    ),
    "error": State("no verdict", "▽", "failure", "the judge could not come to a verdict"),
    "finding": State(
        "finding", "◆", "finding", "another convention, or a weakness worth knowing; no failure"
    ),
    "expected": State("expected", "○", "expected", "a deviation that the implementation declares"),
    "pass": State("pass", "✓", "pass", "as expected"),
    "skipped": State("skipped", "…", "unjudged", "not tried; the reason is in the note"),
    "unsupported": State("unsupported", "–", "unjudged", "the operation or format is not offered"),
    "unavailable": State("unavailable", "–", "unjudged", "the implementation could not run"),
}  # fmt: skip
FAILURES = ("crashed", "failure", "unexpected_pass", "error")
SHOWN = (*FAILURES, "finding", "expected")
JUDGED = (*SHOWN, "pass")
_ORDER = list(STATES)


def state_of(record: ConformanceRecord) -> str:
    """A key of `STATES`. A record that contradicts itself, or has no verdict, is never a pass."""
    status, verdict = record.status, record.verdict
    if status == "crashed":
        return "crashed"
    if status == "failed":
        return "unexpected_pass" if verdict == "unexpected_pass" else "failure"
    if status in ("skipped", "unsupported", "unavailable"):
        return status
    if status == "ok" and verdict not in (None, "unsupported", "skipped"):
        return verdict
    return "error"


def case_of(record: ConformanceRecord) -> str:
    """The id of the case."""
    return str(record.case or record.workload)


def records(run: RunData) -> list[ConformanceRecord]:
    """The records of cases; those of declared deviations are `deviations`."""
    return [c for c in run.select(ConformanceRecord) if c.operation != DEVIATIONS]


def worst_state(found: Iterable[ConformanceRecord]) -> str:
    return min((state_of(c) for c in found), key=_ORDER.index)


def anchor(operation: object, case: object, implementation: object) -> str:
    """The id of a detail on the conformance page."""
    return "case-" + slug(f"{operation} {case} {implementation}")


@dataclass(frozen=True)
class Grid:
    """The records of an operation by case, implementation and format.

    Attributes:
        cases: ids, those with failures first, then findings, then deviations, then by number.
        names: implementations with any judged record.
        at: records of (case, implementation), in order of format.
    """

    operation: str
    cases: Sequence[str]
    names: Sequence[str]
    at: Mapping[tuple[str, str], Sequence[ConformanceRecord]]

    def title(self, case: str) -> str:
        return next((c.title for c in self.all_of(case) if c.title), "")

    def all_of(self, case: str) -> list[ConformanceRecord]:
        """The records of a case, those of implementations that could not be judged included."""
        return [c for (k, _), cells in self.at.items() if k == case for c in cells]

    def of(self, case: str) -> list[ConformanceRecord]:
        """The records of a case, of the implementations in `names`."""
        return [c for n in self.names for c in self.at.get((case, n), ())]


@lru_cache(maxsize=2)
def grids(run: RunData) -> list[Grid]:
    """A grid for every operation that was judged on any implementation."""
    by_operation: dict[str, list[ConformanceRecord]] = {}
    for c in records(run):
        by_operation.setdefault(c.operation, []).append(c)
    return [_grid(run, o, by_operation[o]) for o in ordered(by_operation, OPERATIONS)]


def _grid(run: RunData, operation: str, found: Sequence[ConformanceRecord]) -> Grid:
    at: dict[tuple[str, str], list[ConformanceRecord]] = {}
    places: dict[str, tuple[int, int]] = {}
    for i, c in enumerate(found):
        case = case_of(c)
        at.setdefault((case, c.implementation), []).append(c)
        if case not in places or c.number is not None:
            first = places.get(case, (0, i))[1]
            places[case] = (1000 if c.number is None else c.number, first)
    for cells in at.values():
        cells.sort(key=lambda c: DTYPES.index(c.dtype) if c.dtype in DTYPES else len(DTYPES))
    judged = {n for (_, n), cells in at.items() if any(state_of(c) in JUDGED for c in cells)}
    names = [n for n in run.implementations if n in judged]

    def severity(case: str) -> tuple[object, ...]:
        counts = Counter(state_of(c) for n in names for c in at.get((case, n), ()))
        failures = sum(counts[s] for s in FAILURES)
        return (-failures, -counts["finding"], -counts["expected"], *places[case])

    return Grid(operation, sorted(places, key=severity), names, at)


def matrix_entry(grid: Grid, case: str, name: str) -> Entry:
    """One cell of the matrix: the most serious verdict in words, the outcome below it."""
    found = grid.at.get((case, name), ())
    if not found:
        return Entry("· no record", "no record", "unjudged",
                     "no record: the run holds none of this case")  # fmt: skip
    key = worst_state(found)
    state = STATES[key]
    told = {c.dtype: _told(c) for c in found}
    outcomes = {c.outcome for c in found}
    alike = len(set(told.values())) == 1
    if {state_of(c) for c in found} == {"pass"} and outcomes == {"exact", "accurate"}:
        alike, detail = True, "accurate"
    elif alike:
        detail = str(found[0].outcome or "") if key in JUDGED else ""
    else:
        detail = "\n".join(f"{dtype}: {text}" for dtype, text in told.items())
    raw = state.word if alike else "; ".join(f"{d}: {t}" for d, t in told.items())
    if alike and detail:
        raw += f" ({detail})"
    reasons = dict.fromkeys(
        f"{STATES[state_of(c)].word}: {c.reason or 'no reason recorded'}"
        for c in found if state_of(c) not in JUDGED
    )  # fmt: skip
    note = "; ".join(reasons) or None
    href = f"#{anchor(grid.operation, case, name)}" if key in SHOWN else None
    return Entry(state.text, raw, state.kind, note, href, detail or None)


def _told(record: ConformanceRecord) -> str:
    word = STATES[state_of(record)].word
    outcome = record.outcome
    return f"{word}, {outcome}" if outcome and state_of(record) in JUDGED else word


def matrices(run: RunData, grid: Grid, key: str) -> tuple[Table | None, Table | None]:
    """Cases × implementations: the cases with anything to tell, and those that all pass."""
    telling = [k for k in grid.cases if any(state_of(c) in SHOWN for c in grid.of(k))]
    quiet = [k for k in grid.cases if k not in telling]
    left_out = [n for n in run.implementations if n not in grid.names]
    reasons: dict[str, list[str]] = {}
    for n in left_out:
        here = [c for (_, name), cells in grid.at.items() if name == n for c in cells]
        status, reason = run.why(n, here, None, grid.operation)
        reasons.setdefault(f"{status}: {reason}", []).append(n)
    notes = [f"Not judged: {', '.join(names)} ({reason})." for reason, names in reasons.items()]
    untried = [k for k in quiet if not any(state_of(c) in JUDGED for c in grid.of(k))]
    quiet = [k for k in quiet if k not in untried] + untried
    passed = f"{plural(len(quiet) - len(untried), 'case')} passed by all that were judged"
    if untried:
        passed += f", and {len(untried)} on which none was judged"
    heading = "Cases with a failure, a finding or a declared deviation"
    tables = [
        _matrix(grid, telling, f"conformance-{key}", f"{heading}, {grid.operation}", notes),
        _matrix(grid, quiet, f"conformance-{key}-pass",
                f"{passed}, {grid.operation}", ()),
    ]  # fmt: skip
    return (tables[0] if telling or notes else None), (tables[1] if quiet else None)


def _matrix(
    grid: Grid, cases: Sequence[str], name: str, caption: str, notes: Sequence[str]
) -> Table:
    rows = [
        [words(case, detail=grid.title(case) or None), *(matrix_entry(grid, case, n)
                                                         for n in grid.names)]
        for case in cases
    ]  # fmt: skip
    return Table(name, caption, texts("Case", *grid.names), rows, notes)


def counts(run: RunData, name: str) -> Counter[str]:
    """States of an implementation over all operations and formats, deviations included."""
    return _counts(run).get(name, Counter())


@lru_cache(maxsize=2)
def _counts(run: RunData) -> Mapping[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for c in run.select(ConformanceRecord):
        state = state_of(c)
        told = found.setdefault(c.implementation, Counter())
        if c.operation != DEVIATIONS or state in FAILURES:
            told[state] += 1
    return found


def summary(run: RunData, pages: Mapping[str, str]) -> Table:
    """Implementations × states: how many cases, over all operations and formats."""
    rows = []
    for name in run.implementations:
        told = counts(run, name)
        row = [Entry(name, name, href=pages.get(name))]
        if not told:
            gap = missing(*run.why(name, run.select(ConformanceRecord, implementation=name)))
            rows.append([*row, *[gap] * (len(STATES) + 1)])
            continue
        judged = sum(told[s] for s in JUDGED)
        row.append(count(judged))
        for key in STATES:
            kind: Kind = "quiet" if not told[key] else "bad" if key in FAILURES else ""
            row.append(count(told[key], kind=kind))
        rows.append(row)
    columns = [*texts("Implementation"), Column("Tried")]
    columns += [Column(s.text) for s in STATES.values()]
    notes = ["Counted: every case × operation × format."]
    return Table("conformance-summary", "Verdicts by implementation", columns, rows, notes)


def overview_entry(run: RunData, name: str) -> Entry:
    """The implementation's failures and findings, for the results matrix."""
    told = counts(run, name)
    judged = sum(told[s] for s in JUDGED)
    if not judged:
        here = run.select(ConformanceRecord, implementation=name)
        return missing(*run.why(name, here))
    failures = sum(told[s] for s in FAILURES)
    text = plural(failures, "failure")
    more = plural(told["finding"], "finding"), f"{integer(told['expected'])} expected"
    return Entry(text, ", ".join([text, *more]), "bad" if failures else "", detail="\n".join(more))


def told(run: RunData, name: str) -> str | None:
    """The implementation's verdicts in one sentence; None where the run has no such records."""
    if not run.select(ConformanceRecord):
        return None
    found = counts(run, name)
    judged = sum(found[s] for s in JUDGED)
    if not judged:
        status, reason = run.why(name, run.select(ConformanceRecord, implementation=name))
        return f"Not judged: {status} ({reason})."
    listed = ", ".join(f"{s.word} {integer(found[k])}" for k, s in STATES.items() if found[k])
    return f"{plural(judged, 'case')} tried, over all operations and formats: {listed}."


def deviations(run: RunData) -> Table | None:
    """Declared deviations, and whether they show."""
    rows = []
    for c in run.select(ConformanceRecord, operation=DEVIATIONS):
        name, state = c.implementation, STATES[state_of(c)]
        identity = case_of(c).removeprefix("deviation-")
        about = run.about(name)
        reasons = {d.id: d.reason for d in about.deviations} if about else {}
        shows = state_of(c) == "expected"
        rows.append([
            words(name), words(identity),
            Entry("○ shows, as declared" if shows else state.text,
                  "shows" if shows else state.word, state.kind),
            words(reasons.get(identity, "")), words(c.reason),
        ])  # fmt: skip
    columns = texts("Implementation", "Deviation", "Does it show?", "Declared because", "Remark")
    return Table("conformance-deviations", "Declared deviations", columns, rows).or_none()
