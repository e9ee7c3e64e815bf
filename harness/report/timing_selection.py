"""Selecting timings: groups that may share a plot, the headline point, what was struck out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from harness.records import ThroughputRecord
from harness.records.timing import TimingRecord
from harness.report.drawing.formatting import integer, plural
from harness.report.run_data import DTYPES, MEASURED, REGIMES, RunData, class_counts, known, of

T = TypeVar("T", bound=TimingRecord)


@dataclass(frozen=True)
class Group:
    """What timings must have in common to share a plot (beside the machine and the run)."""

    operation: str
    device: str | None
    dtype: str | None
    threads: int | None
    workload: str | None

    @property
    def title(self) -> str:
        threads = "threads as found" if self.threads is None else plural(self.threads, "thread")
        text = f"{self.dtype}, {threads}"
        if self.device not in (None, "cpu"):
            text += f", {self.device}"
        return text if self.operation == "softmax" else f"{self.operation}, {text}"

    @property
    def repeat(self) -> str:
        """The options of `run` that measure these timings again."""
        threads = "one" if self.threads == 1 else "all"
        operation = (
            "" if self.operation == "softmax" else f" --operation {shlex.quote(self.operation)}"
        )
        dtype = shlex.quote(str(self.dtype))
        return f"--experiment throughput{operation} --dtype {dtype} --threads {threads}"

    @property
    def key(self) -> str:
        parts = (self.operation, self.device, self.dtype, self.threads, self.workload)
        return "-".join("none" if p is None else str(p) for p in parts)


@dataclass(frozen=True)
class Headline:
    """The one point of the curves that the overview shows."""

    group: Group
    regime: str
    classes: int

    @property
    def text(self) -> str:
        return f"{self.group.title}, {self.regime}, n = {integer(self.classes)}"

    @property
    def repeat(self) -> str:
        """The options of `run` that measure this point again."""
        return f"{self.group.repeat} --regime {self.regime} --classes {self.classes}"


def group_of(record: ThroughputRecord) -> Group:
    return Group(record.operation, record.device, record.dtype, record.threads, record.workload)


def is_cold(record: ThroughputRecord) -> bool:
    """Whether the caches were swept before each call: never in one plot with warm ones."""
    return record.cache == "cold"


def timed(
    run: RunData, group: Group | None = None, *, cold: bool = False
) -> list[ThroughputRecord]:
    """Throughput records of implementations, with or without a figure; warm or cold ones."""
    return [c for c in _timed(run).get(group, []) if is_cold(c) == cold]


@lru_cache(maxsize=1)
def _timed(run: RunData) -> Mapping[Group | None, list[ThroughputRecord]]:
    found: dict[Group | None, list[ThroughputRecord]] = {}
    for c in run.select(ThroughputRecord):
        if c.role == "implementation":
            found.setdefault(None, []).append(c)
            found.setdefault(group_of(c), []).append(c)
    return found


@lru_cache(maxsize=1)
def groups(run: RunData) -> list[Group]:
    """The groups of a run with any timing: softmax first, float32 first among the formats."""
    found = {group_of(c) for c in timed(run) if c.time_ns is not None}

    def rank(g: Group) -> tuple[object, ...]:
        dtype = DTYPES.index(g.dtype) if g.dtype in DTYPES else len(DTYPES)
        threads = -(g.threads or 0)
        return (g.operation != "softmax", g.operation, g.device != "cpu", str(g.device),
                g.dtype != "float32", dtype, threads, str(g.workload))  # fmt: skip

    return sorted(found, key=rank)


def limits(
    run: RunData, group: Group, regime: str, operations: Collection[str] = ("copy",)
) -> dict[str, list[ThroughputRecord]]:
    """Limits that belong to a group's panel, copies only by default, in order of class count."""
    found: dict[str, list[ThroughputRecord]] = {}
    for c in sorted(run.select(ThroughputRecord), key=lambda c: (c.implementation, c.classes or 0)):
        if (
            c.role == "limit"
            and c.regime == regime
            and c.device in (None, group.device)
            and (group.threads is None or c.threads in (None, group.threads))
            and c.dtype in (None, group.dtype)
            and not is_cold(c)
            and c.operation in operations
            and (c.beside or "softmax") == group.operation
            and c.time_ns is not None
        ):
            found.setdefault(c.implementation, []).append(c)
    return found


def controls(run: RunData, group: Group | None = None) -> list[ThroughputRecord]:
    """The records of the baseline (in older runs of a copy, too) against itself."""
    found = [c for c in run.select(ThroughputRecord) if c.role == "control" and not is_cold(c)]
    return [c for c in found if group in (None, group_of(c))]


def misses_one(control: TimingRecord) -> bool | None:
    """Whether a control's ratio to itself is not known to be 1, to the precision wanted.

    In runs without visits, whether its interval leaves 1 out. None without an interval.
    """
    if control.visits is not None:
        return control.noisy
    low, high = control.speedup_low, control.speedup_high
    return None if low is None or high is None else not low <= 1.0 <= high


def has_time(record: TimingRecord) -> bool:
    """Whether a timing may be drawn: there is one, and it is physically plausible."""
    return record.time_ns is not None and not record.implausible


def struck(record: TimingRecord) -> bool:
    """Whether the accuracy gate struck the timing out."""
    return record.ranked is False


def at_point(
    records: Iterable[ThroughputRecord], regime: str, classes: int
) -> list[ThroughputRecord]:
    return [c for c in records if c.regime == regime and c.classes == classes]


def preferred(records: Iterable[T]) -> T | None:
    """Of the timings of one point, the preallocated one, else the allocating one.

    Of several (repeated measurements) the slowest: never the best of N.
    """
    good = [c for c in records if has_time(c)]
    first = [c for c in good if c.allocating is False] or good
    return max(first, key=lambda c: known(c.time_ns), default=None)


def curve(records: Sequence[ThroughputRecord], regime: str) -> list[ThroughputRecord]:
    """The preferred timing at each class count of a regime."""
    here = [c for c in records if c.regime == regime]
    found = (preferred(at_point(here, regime, n)) for n in class_counts(here))
    return [c for c in found if c is not None]


@lru_cache(maxsize=1)
def headline(run: RunData) -> Headline | None:
    """Streaming float32 softmax on all threads, at the class count near 1000 most were timed at."""
    for group in groups(run):
        for regime in reversed(REGIMES):
            who: dict[int, set[str]] = {}
            for c in timed(run, group):
                if c.regime == regime and has_time(c) and c.classes:
                    who.setdefault(c.classes, set()).add(c.implementation)
            if who:
                near = max(who, key=lambda n: (len(who[n]), -abs(math.log(n / 1000)), -n))
                return Headline(group, regime, near)
    return None


def headline_record(
    run: RunData, name: str
) -> tuple[ThroughputRecord | None, list[ThroughputRecord]]:
    """The implementation's timing at the headline point, and all of its records there."""
    point, mine = headline(run), of(timed(run), name)
    if point is None:
        return None, mine
    here = at_point(of(timed(run, point.group), name), point.regime, point.classes)
    if not here:  # died before its coordinates were known, or timed with other threads
        here = [c for c in mine if c.status not in MEASURED]
    return preferred(here), here


def why_untimed(
    run: RunData, name: str, records: Iterable[ThroughputRecord], dtype: str | None
) -> tuple[str, str]:
    """Status and reason where an implementation has no timing, of its records there."""
    here = list(records)
    if any(c.implausible for c in here):
        return "implausible", "faster than a copy of data beyond the cache: rejected"
    return run.why(name, here, dtype)
