"""The conformance of libraries: which version deviates where, ready to be told upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from harness.records import ConformanceRecord, RunInfo
from harness.records.conformance import DEVIATIONS
from harness.report.across.machines import title, when
from harness.report.across.page import Block, Page, Part
from harness.report.drawing.formatting import figure, listed
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import readable, slug
from harness.report.drawing.tables import Column, Entry, Table, count, texts, words
from harness.report.pages.conformance import (
    FAILURES,
    JUDGED,
    SHOWN,
    STATES,
    State,
    case_of,
    state_of,
    worst_state,
)
from harness.report.pages.conformance_details import links_of, replay
from harness.report.run_data import DTYPES, RunData, ordered

_ELEMENTS = 16  # of an input, in a text that somebody is to read
_DISTRIBUTIONS = {
    "ai_edge_litert": ("ai-edge-litert",),
    "candle": ("candle-nn",),
    "cupy": ("cupy", "cupy-cuda12x", "cupy-cuda13x"),
    "mlx.core": ("mlx",),
    "paddle": ("paddlepaddle",),
    "sklearn": ("scikit-learn",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
}
"""What brings a package, where that has another name."""


Judgement = tuple[str, str, str | None]
"""A case, the operation and the format that it was tried on."""


def _judgement(c: ConformanceRecord) -> Judgement:
    return case_of(c), c.operation, c.dtype


@dataclass(frozen=True, eq=False)
class Library:
    """An implementation on one version of the libraries that it needs.

    Attributes:
        versions: ``"torch 2.13.0"``; of every package that it requires.
        newest: what the newest run that judged it says, and which run that is.
    """

    name: str
    versions: str
    newest: Mapping[Judgement, tuple[RunData, ConformanceRecord]]

    @property
    def title(self) -> str:
        return f"{self.name} ({self.versions})"

    @property
    def runs(self) -> list[RunData]:
        """The runs that it was judged in, newest first."""
        return list(dict.fromkeys(run for run, _ in self.newest.values()))

    def run_of(self, c: ConformanceRecord) -> RunData:
        """The run that a record of it is of."""
        return self.newest[_judgement(c)][0]

    @cached_property
    def at(self) -> dict[str, list[ConformanceRecord]]:
        """Its records by case."""
        found: dict[str, list[ConformanceRecord]] = {}
        for _, c in self.newest.values():
            found.setdefault(case_of(c), []).append(c)
        return found

    def anchor(self, case: str) -> str:
        """The id of what is told of a case."""
        return "deviation-" + slug(f"{self.title} {case}")


def brought_by(package: str) -> tuple[str, ...]:
    """The distributions, any of which brings a package that is imported by this name."""
    return _DISTRIBUTIONS.get(package, (package,))


def _versions(info: RunInfo, name: str) -> str:
    """The versions of what an implementation requires; empty where it requires no library."""
    about = next((i for i in info.implementations if i.name == name), None)
    packages = [p for r in about.requires for p in r.split("|")] if about else []
    brought = dict.fromkeys(d for p in packages for d in brought_by(p))
    required = [d for d in brought if d in info.versions]
    return ", ".join(f"{r} {info.versions[r]}" for r in required)


def libraries(runs: Sequence[RunData]) -> list[Library]:
    """Every library and version that was judged, by name, newest version first."""
    found: dict[tuple[str, str], dict[Judgement, tuple[RunData, ConformanceRecord]]] = {}
    for run in reversed(runs):
        for name in run.implementations:
            versions = _versions(run.info, name)
            for c in run.select(ConformanceRecord, implementation=name) if versions else ():
                if c.operation != DEVIATIONS and state_of(c) in JUDGED:
                    of_it = found.setdefault((name, versions), {})
                    of_it.setdefault(_judgement(c), (run, c))
    told = [Library(*one, of_it) for one, of_it in found.items()]
    return sorted(told, key=lambda one: one.name)


def _smallest(found: Sequence[ConformanceRecord]) -> ConformanceRecord:
    """Of the most serious records the one with the smallest input."""
    state = worst_state(found)
    return min(
        (c for c in found if state_of(c) == state),
        key=lambda c: (not c.case_input, len(c.case_input or ())),
    )


def _where(found: Sequence[ConformanceRecord]) -> str:
    by_operation: dict[str, list[str | None]] = {}
    for c in found:
        by_operation.setdefault(c.operation, []).append(c.dtype)
    return "; ".join(f"{o} in {listed(ordered(d, DTYPES))}" for o, d in by_operation.items())


def _fenced(text: str) -> str:
    """Text that Markdown shows as it is, in a fence longer than any that it holds."""
    longest = max((len(list(run)) for mark, run in groupby(text) if mark == "`"), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _given(c: ConformanceRecord) -> str:
    given = list(c.case_input or ())
    more = f", … ({len(given)} elements)" if len(given) > _ELEMENTS else ""
    return ", ".join(map(str, given[:_ELEMENTS])) + more


def report(library: Library, case: str, found: Sequence[ConformanceRecord]) -> str:
    """A deviation as Markdown for an issue: what, where, input, expected, got, again."""
    c = _smallest(found)
    run = library.run_of(c)
    told = {
        "operation": f"{c.operation}, {c.dtype}",
        "input": _given(c),
        "expected": c.expected,
        "got": c.got,
        "error": None if c.error_ulp is None else f"{figure(c.error_ulp)} ulp",
        "call": c.witness.text if c.witness else None,
        "diagnosis": c.diagnosis,
        "declared": f"{c.deviation}: {c.deviation_reason or 'no reason recorded'}"
        if c.deviation
        else None,
        "versions": library.versions,
        "machine": title(run),
        "seen in": _where(found),
        "measured": f"{when(run)} UTC, softmax-bench {run.info.harness_version}",
        "again": replay(run, c),
        "see also": ", ".join(address or text for text, address in links_of(found)),
    }
    head = [f"{STATES[state_of(c)].word}: {c.title or case}", c.message or c.reason or "", ""]
    lines = [f"{term + ':':<11}{text}" for term, text in told.items() if text]
    return readable(_fenced("\n".join([*head, *lines])) + "\n")


def _blocks(library: Library) -> Iterator[tuple[State, Block]]:
    for case, cells in library.at.items():
        found = [c for c in cells if state_of(c) in SHOWN]
        if found:
            state = STATES[worst_state(found)]
            name = f"{state.text}: {library.title}, {case}"
            text = report(library, case, found)
            yield state, Block(library.anchor(case), name, text, links_of(found))


def _entry(library: Library, case: str) -> Entry:
    found = library.at.get(case)
    if not found:
        return Entry("· not tried", "not tried", "unjudged")
    state = STATES[worst_state(found)]
    shown = [c for c in found if state_of(c) in SHOWN]
    if not shown:
        return Entry(state.text, state.word, state.kind)
    where = _where(shown)
    operations = "\n".join(dict.fromkeys(c.operation for c in shown))
    return Entry(state.text, f"{state.word}: {where}", state.kind,
                 href=f"#{library.anchor(case)}", detail=operations)  # fmt: skip


def matrix(found: Sequence[Library]) -> Table:
    """Cases in which any library deviates × libraries; those with failures first."""
    order = list(STATES)
    places: dict[str, tuple[int, int]] = {}
    titles: dict[str, str] = {}
    for library in found:
        for case, cells in library.at.items():
            shown = [c for c in cells if state_of(c) in SHOWN]
            if shown:
                worst = order.index(worst_state(shown))
                number = next((c.number for c in shown if c.number is not None), 1000)
                places[case] = min(places.get(case, (worst, number)), (worst, number))
                titles.setdefault(case, shown[0].title or "")
    cases = sorted(places, key=lambda case: (places[case], case))
    rows = [
        [words(case, detail=titles[case] or None), *(_entry(one, case) for one in found)]
        for case in cases
    ]
    heads = [one.title for one in found]
    caption = "Cases in which a library deviates, by the version that was judged"
    return Table("libraries", caption, texts("Case", *heads), rows, [prose("libraries_matrix")])


def _counts(library: Library) -> tuple[int, int]:
    """Cases that fail, and those that deviate in another way."""
    states = [worst_state(cells) for cells in library.at.values()]
    failures = sum(s in FAILURES for s in states)
    return failures, sum(s in SHOWN for s in states) - failures


def summary(found: Sequence[Library]) -> Table:
    """Libraries × how many of their cases fail and deviate; those without failures first."""
    rows = []
    for library in sorted(found, key=lambda one: (_counts(one), one.name)):
        failures, others = _counts(library)
        rows.append([
            words(library.name, href="#of-" + slug(library.title)), words(library.versions),
            count(len(library.at)), count(failures, kind="bad" if failures else "quiet"),
            count(others, kind=None if others else "quiet"),
        ])  # fmt: skip
    columns = [
        *texts("Library", "Version"), Column("Cases", "judged"), Column("Failures"),
        Column("Other deviations"),
    ]  # fmt: skip
    return Table("libraries-summary", "How many cases fail, and how many deviate otherwise",
                 columns, rows)  # fmt: skip


def _answer(found: Sequence[Library]) -> str:
    """Who has no failure, and how many the others have."""
    failures = {one.title: (_counts(one)[0], one.name) for one in found}
    clean = [name for n, name in failures.values() if not n]
    most = sorted(((n, name) for n, name in failures.values() if n), reverse=True)
    told = [f"No case fails in {listed(clean)}"] if clean else []
    if most:
        told.append("cases fail in " + listed([f"{name} ({n})" for n, name in most]))
    text = "; ".join(told) + "."
    return text[0].upper() + text[1:]


def page(runs: Sequence[RunData]) -> Page:
    """The matrix, and below it a text for each deviation."""
    found = libraries(runs)
    if not found:
        lead = ["No run judged a library by the catalogue: softmax-bench run --experiment "
                "conformance does."]  # fmt: skip
        return Page("libraries.html", "Conformance of libraries", lead, [])
    parts = [Part("Which library deviates where", "matrix", tables=[summary(found), matrix(found)])]
    for library in found:
        blocks = sorted(_blocks(library), key=lambda pair: list(STATES.values()).index(pair[0]))
        text = f"Judged {listed([f'on {when(run)} by {title(run)}' for run in library.runs])}."
        parts.append(
            Part(library.title, "of-" + slug(library.title), text, blocks=[b for _, b in blocks])
        )
    lead = [_answer(found), prose("libraries_lead")]
    return Page("libraries.html", "Conformance of libraries", lead, parts)
