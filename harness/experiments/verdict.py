"""The verdict of a check from its records: what is wrong, each told once, the worst first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from harness.experiments.conformance.case import OPERATIONS
from harness.experiments.conformance.catalogue import AREAS, BY_ID, area_of
from harness.experiments.profiles import DTYPES
from harness.numerics.outcomes import severity
from harness.records import AccuracyRecord, ConformanceRecord, Record, ThroughputRecord
from harness.records.timing import times_as_fast
from harness.registry.contract import Metadata
from harness.text import one_line

WIDE = 4096
"""Rows of more classes are wide: what a sum over them adds hides other errors."""
BROKEN = ("failed", "error", "crashed", "timeout", "out_of_memory")
_FAULTS = ("error", "crashed", "timeout", "out_of_memory")
_LONGEST = 160
"""Characters of what is told of an area in a line."""
_NUMBER = re.compile(r"[0-9.]+")


class Verdict(StrEnum):
    """The verdict of a check."""

    PASS = "pass"
    FAIL = "fail"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Instance:
    """One thing that a reader should know, from one record.

    Attributes:
        where: operation, format and case or workload.
        message: what was expected and what came.
        input: the row in hexadecimal, or how it was made.
        expected, got: hexadecimal, where there is one value to show.
    """

    where: str
    message: str
    input: tuple[str, ...] = ()
    expected: str | None = None
    got: str | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong or worth knowing, told once however often it showed.

    Attributes:
        areas: those of `AREAS` in which it showed; it is told under the first. None for what is of
            no area.
        name: of the case, or what else it showed in, in a word or two.
        text: in words.
        count: judgements in which it showed.
        where: operations and formats (``"softmax in float32, float64"``).
        witness: the smallest input found that shows it, as one line to paste; None if none was.
        items: the judgements, one each.
    """

    areas: tuple[str, ...]
    name: str
    text: str
    count: int
    where: str
    witness: str | None
    items: tuple[Instance, ...]


@dataclass(frozen=True)
class Area:
    """One area of the verdict.

    Attributes:
        name: one of `AREAS`.
        judged: judgements made.
        failures, findings: the most serious first; those that are told here.
        elsewhere: areas under which failures are told that showed here, too.
        note: what a reader should know beside it: the largest error, or why nothing was judged.
    """

    name: str
    judged: int
    failures: tuple[Problem, ...] = ()
    findings: tuple[Problem, ...] = ()
    elsewhere: tuple[str, ...] = ()
    note: str = ""

    @property
    def state(self) -> str:
        """``"FAIL"``, ``"ok"`` (with findings or without), or ``"not covered"``."""
        if self.failures or self.elsewhere:
            return "FAIL"
        return "ok" if self.judged else "not covered"

    @property
    def told(self) -> str:
        """What fails first of all, and how much more does; else the findings, else the note."""
        if self.failures:
            first, *others = self.failures
            times = f" ({first.count} times)" if first.count > 1 else ""
            more = f"; and {len(others)} more" if others else ""
            return f"{one_line(first.text, _LONGEST)}{times}{more}"
        if self.elsewhere:
            return f"as under {self.elsewhere[0]}"
        if self.findings:
            names = ", ".join(p.name for p in self.findings)
            return f"{counted(len(self.findings), 'finding')}: {names}"
        return self.note


@dataclass(frozen=True)
class SpeedRatio:
    """How many times as fast as a rival: its time over the subject's, with a 95% interval.

    The interval is that of both times, widened by what two processes of one and the same baseline
    differed by.
    """

    rival: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Speed:
    """The time of the subject at one point, beside the rivals.

    Attributes:
        regime: ``"latency"``, ``"cached"`` or ``"streaming"``.
        rows, classes, threads: of the input, and given to the subject.
        time_ns: of one call, the least.
        gbps: bytes that have to be moved over that time; None for latency.
        ratios: one a rival, none where they mean nothing.
        reason: why there is no number, or no ratio.
    """

    regime: str
    rows: int
    classes: int
    threads: int
    time_ns: float | None = None
    gbps: float | None = None
    ratios: tuple[SpeedRatio, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Report:
    """The verdict on one implementation.

    Attributes:
        name: of the implementation.
        verdict: pass, fail, or nothing could be judged.
        reason: the one that matters most, in words.
        covered: what was judged (``"softmax in float64, float32"``).
        uncovered: formats and operations that were not, with the reason.
        skipped: cases that could not be asked, with the reason.
        areas: one for each of `AREAS`.
        failures: contradictions of mathematics, of the contract or of a bound.
        findings: true statements that its author may want to know; they fail only a strict check.
        expected: departures that its metadata declares.
        judged: how many records stand behind the verdict.
        max_ulp: worst error by format.
        speeds: one for each timing of the subject.
        notes: what could not be measured, and why.
    """

    name: str
    verdict: Verdict
    reason: str
    covered: str
    uncovered: tuple[str, ...]
    skipped: tuple[str, ...]
    areas: tuple[Area, ...]
    failures: tuple[Instance, ...]
    findings: tuple[Instance, ...]
    expected: tuple[Instance, ...]
    judged: int
    max_ulp: Mapping[str, float]
    speeds: tuple[Speed, ...] = ()
    notes: tuple[str, ...] = ()


def reached(
    subject: Metadata,
    records: Sequence[Record],
    timings: Sequence[ThroughputRecord] = (),
    notes: Sequence[str] = (),
    *,
    dtypes: Sequence[str] = (),
    strict: bool = False,
) -> Report:
    """The verdict that the records of a check come to.

    Args:
        subject: what the implementation says of itself.
        timings: of the subject and its rivals.
        notes: what could not be measured, and why.
        dtypes: formats that were to be judged.
        strict: findings fail as well.
    """
    own = [t for t in timings if t.implementation == subject.name and t.role == "implementation"]
    failed = [r for r in (*records, *own) if _verdict(r) == "failure"]
    found = [r for r in records if _verdict(r) == "finding"]
    expected = [r for r in records if _verdict(r) == "expected"]
    judged = [r for r in records if r.status in ("ok", *BROKEN)]
    verdict = Verdict.FAIL if failed or (strict and found) else Verdict.PASS
    if not judged:
        verdict = Verdict.NOTHING
    failures, findings = _problems(failed), _problems(found)
    return Report(
        name=subject.name,
        verdict=verdict,
        reason=_reason(verdict, failures or findings, judged, records),
        covered=_places(judged) or "nothing",
        uncovered=tuple(_uncovered(subject, dtypes)),
        skipped=tuple(_skipped(records)),
        areas=tuple(_area(name, judged, records, failures, findings) for name in AREAS),
        failures=tuple(map(_item, failed)),
        findings=tuple(map(_item, found)),
        expected=tuple(map(_item, expected)),
        judged=len(judged),
        max_ulp=_largest_errors(records),
        speeds=tuple(_speed(mine, timings) for mine in own),
        notes=tuple(notes),
    )


def counted(count: int, what: str) -> str:
    """``"1 finding"``, ``"2 findings"``."""
    return f"{count} {what}{'s' * (count != 1)}"


def failing(record: Record) -> bool:
    """Whether a record fails the check."""
    return _verdict(record) == "failure"


def describe(record: Record) -> str:
    """A record in a line: where, and what is wrong."""
    return f"{_item(record).where}: {_text(record, [record])}"


def _verdict(record: Any) -> str:
    """``failure``, ``finding``, ``expected`` or ``pass``; ``skipped`` where nothing was judged."""
    own = getattr(record, "verdict", None)
    if own in ("expected", "finding"):
        return str(own)
    if record.status in BROKEN:
        return "failure" if getattr(record, "deviation", None) is None else "expected"
    return "pass" if record.status == "ok" else "skipped"


def _area_of(record: Any) -> str:
    """One of `AREAS`; empty for what is of none, such as an import that fails."""
    if record.experiment == "conformance":
        case = str(getattr(record, "case", None))
        return area_of(case, record.operation) if case in BY_ID else ""
    if record.experiment == "accuracy":
        return "wide rows" if (record.classes or 0) > WIDE else "accuracy"
    return "special values" if record.experiment == "overflow" else "speed"


def _item(record: Any) -> Instance:
    place = [record.operation, record.dtype, record.workload]
    if record.experiment != "conformance" and record.classes is not None:
        place.append(f"{record.rows} x {record.classes}")
    if record.experiment == "overflow" and record.kind == "threshold":
        place.append(f"{record.probe} {'+' if record.sign == 1 else '-'} {record.event}")
    row = getattr(record, "case_input", None) or getattr(record, "worst_logits", None) or ()
    return Instance(
        where=", ".join(str(p) for p in place if p),
        message=record.reason or getattr(record, "message", None) or record.status,
        input=tuple(row),
        expected=getattr(record, "expected", None) or getattr(record, "worst_expected", None),
        got=getattr(record, "got", None) or getattr(record, "worst_got", None),
    )


def _problems(records: Iterable[Any]) -> list[Problem]:
    """The records by what is wrong, the most serious first."""
    groups: defaultdict[object, list[Any]] = defaultdict(list)
    for record in records:
        groups[_cause(record)].append(record)
    return [_problem(group) for group in sorted(groups.values(), key=_rank)]


def _cause(record: Any) -> object:
    """What records of one problem have in common."""
    diagnosis = getattr(record, "diagnosis", None)
    if diagnosis is not None:
        return _NUMBER.sub("", diagnosis)
    if record.status in _FAULTS:
        return record.status, _NUMBER.sub("", str(record.reason).partition(" [")[0])
    if isinstance(record, ConformanceRecord) and record.got is None and record.message:
        return _NUMBER.sub("", record.message.partition(" [")[0])  # what is no matter of a case
    return _area_of(record), getattr(record, "case", None) or record.experiment


def _rank(group: Sequence[Any]) -> tuple[object, ...]:
    """What stops everything comes first; then what is understood, what concerns ordinary input, is
    more serious, or is seen more often."""
    understood = any(getattr(r, "diagnosis", None) for r in group)
    ordinary = any(r.experiment == "accuracy" for r in group)
    serious = max(map(_severity, group))
    return any(map(_area_of, group)), not understood, not ordinary, -serious, -len(group)


def _severity(record: Any) -> int:
    told = getattr(record, "outcome", None) or "wrong"
    return severity("crashed" if record.status in _FAULTS else told)


def _problem(group: Sequence[Any]) -> Problem:
    worst, areas = max(group, key=_severity), set(map(_area_of, group))
    witnesses = [r.witness.text for r in group if getattr(r, "witness", None)]
    return Problem(
        areas=tuple(a for a in AREAS if a in areas),
        name=str(getattr(worst, "case", None) or worst.experiment),
        text=_text(worst, group),
        count=len(group),
        where=_places(group),
        witness=min(witnesses, key=len, default=None),
        items=tuple(map(_item, group)),
    )


def _text(worst: Any, group: Sequence[Any]) -> str:
    """What is wrong, in words: the diagnosis where there is one, else what came and was due."""
    diagnosis = getattr(worst, "diagnosis", None)
    if diagnosis is not None:
        return str(diagnosis)
    if isinstance(worst, AccuracyRecord) and worst.max_ulp is not None:
        top = max(group, key=lambda r: r.error_over_bound or 0.0)
        return (
            f"errors of up to {top.max_ulp:.3g} ulp, {top.error_over_bound:.3g} times the "
            f"bound of its algorithm ({top.workload}, {top.rows} x {top.classes}, "
            f"{top.dtype})"
        )
    told = worst.reason or getattr(worst, "message", None) or worst.status
    told = str(told).partition(" [")[0]
    if getattr(worst, "title", None) is None:
        return told
    return f"{told} ({worst.case}: {worst.title})"


def _places(records: Iterable[Any]) -> str:
    """Operations and formats: ``softmax in float64, float32; log_softmax in float32``."""
    formats: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        if record.dtype is not None:
            formats[record.operation][record.dtype] = None
    operations: defaultdict[str, list[str]] = defaultdict(list)
    for operation, dtypes in formats.items():
        operations[", ".join(dtypes)].append(operation)
    return "; ".join(f"{', '.join(names)} in {dtypes}" for dtypes, names in operations.items())


def _reason(
    verdict: Verdict, problems: Sequence[Problem], judged: Sequence[Record],
    records: Sequence[Record],
) -> str:  # fmt: skip
    if verdict is Verdict.NOTHING:
        reasons = dict.fromkeys(r.reason for r in records if r.reason)
        return next(iter(reasons), "no judgement was made") or ""
    if verdict is Verdict.PASS:
        known = sum(_verdict(r) == "expected" for r in judged)
        besides = f", but for {known} that declared deviations explain" if known else ""
        return f"nothing wrong was found in {len(judged)} judgements{besides}"
    first = problems[0]
    return f"{first.text} ({first.count} times)" if first.count > 1 else first.text


def _uncovered(subject: Metadata, dtypes: Sequence[str]) -> Iterable[str]:
    """Formats and operations of which the verdict does not speak, and why."""
    declared = subject.dtypes or ()
    if left := [d for d in DTYPES if d not in dtypes and (not declared or d in declared)]:
        why = "not asked for" if declared else "IMPLEMENTATION['dtypes'] names no formats"
        yield f"{', '.join(left)} ({why}; --dtype {left[0]} judges it)"
    if missing := [o for o in OPERATIONS if o not in subject.operations]:
        yield f"{', '.join(missing)} (not offered)"


def _skipped(records: Sequence[Any]) -> Iterable[str]:
    """Cases of the catalogue that could not be asked, and why; each once."""
    skipped = [r for r in records if r.status == "skipped" and r.experiment == "conformance"]
    return dict.fromkeys(f"{r.case}: {r.reason}" for r in skipped if r.case in BY_ID)


def _area(
    name: str, judged: Sequence[Any], records: Sequence[Any],
    failures: Sequence[Problem], findings: Sequence[Problem],
) -> Area:  # fmt: skip
    here = [r for r in judged if _area_of(r) == name]
    return Area(
        name,
        len(here),
        tuple(p for p in failures if p.areas[:1] == (name,)),
        tuple(p for p in findings if p.areas[:1] == (name,)),
        tuple(p.areas[0] for p in failures if name in p.areas[1:]),
        _note(name, here, records),
    )


def _note(name: str, here: Sequence[Any], records: Sequence[Any]) -> str:
    if not here:
        reasons = {r.reason for r in records if _area_of(r) == name and r.reason}
        return min(reasons) if len(reasons) == 1 else ""
    if name != "accuracy":
        return ""
    errors = ", ".join(f"{u:.3g} in {d}" for d, u in _largest_errors(here).items())
    return f"largest error, ulp: {errors}" if errors else ""


def _largest_errors(records: Iterable[Record]) -> dict[str, float]:
    """Ulps, by format, over the records of accuracy."""
    ulps: dict[str, float] = {}
    for record in records:
        if isinstance(record, AccuracyRecord) and record.max_ulp is not None:
            ulps[str(record.dtype)] = max(record.max_ulp, ulps.get(str(record.dtype), 0.0))
    return ulps


def _speed(mine: ThroughputRecord, timings: Sequence[ThroughputRecord]) -> Speed:
    """One timing of the subject beside its rivals, or why there is nothing to tell."""
    point = Speed(
        str(mine.regime), mine.rows or 0, mine.classes or 0, mine.threads or 0, reason=mine.reason
    )
    if mine.time_ns is None or mine.samples_ns is None:
        return point
    if mine.ranked is not False and mine.open_to_a_factor:
        return replace(point, reason=f"not measurable now: {mine.undecided}")
    gbps = None if mine.regime == "latency" else mine.gbps
    point = replace(point, time_ns=mine.time_ns, gbps=gbps)
    if mine.ranked is False:
        return replace(point, reason=f"no ratio: the timed result is wrong ({mine.reason})")
    rivals = ((t.implementation, times_as_fast(mine, t)) for t in timings if _are_rivals(mine, t))
    ratios = (SpeedRatio(name, *found) for name, found in rivals if found is not None)
    return replace(point, ratios=tuple(r for r in ratios if r.high <= 2.0 * r.low))


def _are_rivals(mine: ThroughputRecord, other: ThroughputRecord) -> bool:
    """Whether another implementation did the same work, and no more: it may save an allocation."""
    return (
        (other.regime, other.classes, other.threads) == (mine.regime, mine.classes, mine.threads)
        and other.role == "implementation"
        and other.implementation != mine.implementation
        and (other.allocating == mine.allocating or not other.allocating)
    )
