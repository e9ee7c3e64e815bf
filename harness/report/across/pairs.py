"""The implementations of a run against each other, at every point where they were timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from itertools import combinations
from typing import NamedTuple

from harness.records import Record
from harness.records.reader import Run
from harness.records.timing import TimingRecord
from harness.report.across.compared import Judge
from harness.report.across.machines import by_machine, title, when
from harness.report.across.page import Page, Part
from harness.report.drawing.formatting import figure, integer, interval, listed, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import Entry, Kind, Table, texts, words
from harness.report.run_data import RunData, from_run, known
from harness.report.timing_selection import has_time, headline, preferred, struck

_SPEED: Mapping[str, tuple[str, Kind]] = {
    "better": ("faster", "best"),
    "worse": ("slower", "failure"),
    "equivalent": ("equivalent", "quiet"),
    "inconclusive": ("inconclusive", "unjudged"),
}
"""What a verdict on the time of an implementation says of its speed."""

_REVERSED = {"better": "worse", "worse": "better"}


class Point(NamedTuple):
    """Where implementations were timed beside each other."""

    operation: str
    dtype: str | None
    device: str | None
    threads: int | None
    workload: str | None
    regime: str | None
    classes: int | None
    rows: int | None
    cold: bool

    @property
    def text(self) -> str:
        threads = "threads as found" if self.threads is None else plural(self.threads, "thread")
        parts = (
            self.operation, self.dtype, threads, self.regime, f"n = {integer(self.classes or 0)}",
            "cold caches" if self.cold else None,
        )  # fmt: skip
        return ", ".join(str(p) for p in parts if p)


class Faster(NamedTuple):
    """How many times as fast one is as another, with the interval and the verdict on it.

    Without numbers where the timings can tell nothing; the reason says why.
    """

    value: float | None
    low: float | None
    high: float | None
    verdict: str
    reason: str

    @property
    def other_way(self) -> Faster:
        verdict = _REVERSED.get(self.verdict, self.verdict)
        return Faster(
            _inverse(self.value), _inverse(self.high), _inverse(self.low), verdict, self.reason
        )


def _inverse(x: float | None) -> float | None:
    return None if x is None else 1 / x


def _point(c: TimingRecord) -> Point:
    cold = getattr(c, "cache", None) == "cold"
    return Point(c.operation, c.dtype, c.device, c.threads, c.workload, getattr(c, "regime", None),
                 c.classes, c.rows, cold)  # fmt: skip


def folder_of(run: RunData) -> str:
    """Of the page of a run."""
    return f"pairs/{run.slug}"


def most_timed(runs: Sequence[RunData]) -> Iterator[RunData]:
    """Of each machine the newest of those that timed most implementations, and at least two."""

    def timed(run: RunData) -> int:
        return len({c.implementation for c in run.records
                    if isinstance(c, TimingRecord) and c.speedup})  # fmt: skip

    for machine in by_machine(runs):
        run = max(reversed(machine), key=timed)
        if timed(run) > 1:
            yield run


def _ranking(records: Sequence[Record]) -> dict[Point, list[str]]:
    """Who may be ranked at each point, the fastest first."""
    at: dict[Point, dict[str, list[TimingRecord]]] = {}
    for c in records:
        if not isinstance(c, TimingRecord) or c.role != "implementation":
            continue
        if has_time(c) and not struck(c):
            at.setdefault(_point(c), {}).setdefault(c.implementation, []).append(c)
    found = {}
    for point, names in at.items():
        times = {n: known(known(preferred(here)).time_ns) for n, here in names.items()}
        if len(times) > 1:
            found[point] = sorted(times, key=lambda n: times[n])
    return found


def judged(judge: Judge, run: Run) -> dict[Point, dict[tuple[str, str], Faster]]:
    """Of two implementations how many times as fast the first is, at every point.

    Where both write to `out=` those calls are compared, else those that allocate.
    """
    timings = [c for c in run.records if isinstance(c, TimingRecord)]
    alone = replace(run, records=list(timings))
    mine = [c for c in timings if c.role == "implementation"]
    places = {(c.experiment, judge.where(c)): (_point(c), c.allocating) for c in mine}
    found: dict[Point, dict[tuple[str, str], Faster]] = {}
    names = dict.fromkeys(c.implementation for c in mine if has_time(c))
    for first, second in combinations(names, 2):
        for item in judge.compare(alone, alone, (second, first)).items:
            point, allocating = places[item.experiment, item.where]
            here = found.setdefault(point, {})
            if allocating and (first, second) in here:
                continue
            slower = Faster(item.ratio, item.low, item.high, "", "")
            faster = slower.other_way._replace(verdict=item.verdict, reason=item.reason)
            here[first, second], here[second, first] = faster, faster.other_way
    return found


def _entry(faster: Faster | None) -> Entry:
    if faster is None:
        return Entry("–", "", "unjudged")
    if faster.value is None:
        return Entry("undecided", kind="missing", note=prose("pairs_undecided"), common=True,
                     told=faster.reason)  # fmt: skip
    word, kind = _SPEED[faster.verdict]
    detail = f"{interval(faster.low, faster.high)}\n{word}"
    return Entry(figure(faster.value), faster.value, kind, detail=detail)


def matrix(point: Point, names: Sequence[str], found: Mapping[tuple[str, str], Faster],
           key: int) -> Table:  # fmt: skip
    """Each implementation against all that are slower than it."""
    rows = []
    for i, name in enumerate(names[:-1]):
        entries = [_entry(found.get((name, other))) if k > i else words("")
                   for k, other in enumerate(names) if k]  # fmt: skip
        rows.append([words(name), *entries])
    caption = f"{point.text}: how many times as fast as"
    return Table(f"pairs-{key}", caption, texts("Implementation", *names[1:]), rows,
                 [prose("pairs_matrix")])  # fmt: skip


def _answer(point: Point, names: Sequence[str], found: Mapping[tuple[str, str], Faster]) -> str:
    """Against how many the fastest of a point holds."""
    first, others = names[0], names[1:]
    beaten = [n for n in others if (f := found.get((first, n))) and f.verdict == "better"]
    left = [n for n in others if n not in beaten and (first, n) in found]
    text = f"{first} has the least time ({point.text}): judged faster than {len(beaten)} of "
    text += plural(len(others), "other")
    text += f", not told apart from {listed(left)}" if left else ""
    apart = [n for n in others if (first, n) not in found]
    return text + (f"; {listed(apart)} in another form, not compared." if apart else ".")


def page(judge: Judge, run: Run, folder: str) -> Page:
    """The page of a run."""
    found = judged(judge, run)
    ranking = {p: names for p, names in _ranking(run.records).items() if p in found}
    data = from_run(run, "")
    top = headline(data)
    here = (*astuple(top.group), top.regime, top.classes) if top else ()
    ordered = sorted(ranking, key=lambda p: p.cold or _place(p) != here)  # the others as they are
    tables = [matrix(p, ranking[p], found[p], k) for k, p in enumerate(ordered)]
    first = sum(_place(p) == here and not p.cold for p in ordered[:1])
    lead = [_answer(p, ranking[p], found[p]) for p in ordered[:1]] or [
        "No two implementations of this run have times that may be compared."
    ]
    lead.append(f"Run {run.info.id} of {when(data)}, {title(data)}.")
    parts = [
        Part("At the point of the overview", "first", tables=tables[:first]),
        Part("At all other points" if first else "At every point", "others", folded=tables[first:]),
    ]
    parts = [part for part in parts if part.tables or part.folded]
    return Page(f"{folder}index.html", "Implementations against each other", lead, parts, folder)


def _place(p: Point) -> tuple[object, ...]:
    """As a group of timings, a regime and a class count."""
    return (p.operation, p.device, p.dtype, p.threads, p.workload, p.regime, p.classes)
