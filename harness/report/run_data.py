"""A run as the report reads it: its records by experiment, and why a figure is missing."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

from harness.records import AccuracyRecord, ClaimRecord, ImplementationInfo, Record, RunInfo
from harness.records.reader import CELLS_FILE, Run
from harness.records.timing import TimingRecord
from harness.report.drawing.tables import AT_THE_FOOT

DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
REGIMES = ("latency", "cached", "streaming")
MEASURED = ("ok", "failed")

R = TypeVar("R", bound=Record)
T = TypeVar("T")


def ordered(values: Iterable[str | None], first: Sequence[str] = ()) -> list[str]:
    """The distinct values, those of `first` in front and in its order, the others sorted."""
    present = {v for v in values if v is not None}
    return [v for v in first if v in present] + sorted(present - set(first))


@dataclass(frozen=True, eq=False)
class RunData:
    """One run.

    Attributes:
        info: its description.
        records: in the order of measurement.
        slug: its folder in the site, with a slash at its end; empty for the root.
        problems: what of the stored run could not be read, a line each.
        digest: SHA-256 of its file of records; empty where there is none.
    """

    info: RunInfo
    records: Sequence[Record]
    slug: str
    problems: Sequence[str] = ()
    digest: str = ""

    @cached_property
    def implementations(self) -> list[str]:
        """Names: available ones in the run's order, those only in records, unavailable ones."""
        named = [i.name for i in self.info.implementations if i.available]
        absent = [i.name for i in self.info.implementations if not i.available]
        seen = {
            c.implementation
            for c in self.records
            if not is_beside(c)
            and c.operation != "copy"
            and not isinstance(c, ClaimRecord)  # those are about sentences, not code
        }
        return named + sorted(seen - set(named) - set(absent)) + absent

    def about(self, name: str) -> ImplementationInfo | None:
        """The run's description of an implementation; None where it has none."""
        return next((i for i in self.info.implementations if i.name == name), None)

    @cached_property
    def unavailable(self) -> Mapping[str, list[str]]:
        """The implementations that could not run, by reason: told once, on the overview."""
        found: dict[str, list[str]] = {}
        for i in self.info.implementations:
            if not i.available:
                reason = i.unavailable_reason or "no reason recorded"
                found.setdefault(f"unavailable: {reason}", []).append(i.name)
        return found

    @cached_property
    def _pools(self) -> dict[tuple[object, ...], list[Any]]:
        """Records by kind and by each choice of implementation, format and operation or any."""
        found: dict[tuple[object, ...], list[Any]] = {}
        for c in self.records:
            values = (c.implementation, c.dtype, c.operation)
            for place in set(product(*((None, value) for value in values))):
                found.setdefault((type(c), *place), []).append(c)
        return found

    def select(
        self, kind: type[R], *, implementation: str | None = None, dtype: str | None = None,
        operation: str | None = None,
    ) -> list[R]:  # fmt: skip
        """The records of an experiment, of everyone and everything that is not given."""
        return list(self._pools.get((kind, implementation, dtype, operation), ()))

    def absent(
        self, records: Iterable[R], value: Callable[[R], object], dtype: str | None = None,
        operation: str | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """Implementations none of whose `records` has a `value`, with status and reason.

        Args:
            records: of everyone at the place that is drawn.
            value: of a record; None where it has none.
            dtype, operation: of that place.
        """
        given = list(records)
        present = {c.implementation for c in given if value(c) is not None}
        found = {}
        for name in self.implementations:
            if name not in present:
                status, reason = self.why(name, of(given, name), dtype, operation)
                why = f"{status.replace('_', ' ')}: {reason}"
                found[name] = AT_THE_FOOT if why in self.unavailable else why
        return found

    def _values(self, kind: type[Record], place: int) -> set[str]:
        """What the records of a kind have at a place of the keys of `_pools`."""
        found = (key[place] for key in self._pools if key[0] is kind)
        return {str(value) for value in found if value is not None}

    def dtypes(self, kind: type[Record]) -> list[str]:
        return ordered(self._values(kind, 2), DTYPES)

    def operations(self, kind: type[Record]) -> list[str]:
        found = ordered(self._values(kind, 3), ("softmax",))
        return [o for o in found if o != "copy"]

    def statuses(self, name: str) -> Counter[str]:
        """How many cells of an implementation ended in each status."""
        return self._statuses.get(name, Counter())

    @cached_property
    def _statuses(self) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        for c in self.records:
            if not is_beside(c):
                found.setdefault(c.implementation, Counter())[c.status] += 1
        return found

    def why(
        self, name: str, records: Iterable[Record] = (), dtype: str | None = None,
        operation: str | None = None,
    ) -> tuple[str, str]:  # fmt: skip
        """Status and reason where an implementation has no figure.

        Args:
            name: the implementation.
            records: its records at the place that is empty, if there are any.
            dtype, operation: of that place.
        """
        for c in records:
            if c.status not in MEASURED:
                return c.status, c.reason or "no reason recorded"
        about = self.about(name)
        if about is not None and not about.available:
            return "unavailable", about.unavailable_reason or "no reason recorded"
        if about is not None:
            if dtype is not None and about.dtypes and dtype not in about.dtypes:
                return "unsupported", f"does not declare {dtype}"
            if operation is not None and operation not in about.operations:
                return "unsupported", f"does not offer {operation}"
        if self.info.finished is None:
            return "not measured", "the run had not finished when this report was made"
        return "not measured", "not in the plan of this run (see its profile and filters)"


def from_run(run: Run, slug: str) -> RunData:
    """The report's view of a stored run."""
    cells = run.path / CELLS_FILE
    try:
        digest = hashlib.sha256(cells.read_bytes()).hexdigest()
    except OSError:  # there is none, or it cannot be read: the run's problems say so
        digest = ""
    records = [_completed(r) for r in run.records]
    return RunData(run.info, records, slug, tuple(run.problems), digest)


_POSITIVE = ("best_ns", "median_ns", "gbps", "speedup", "classes")


def _completed(record: Record) -> Record:
    """A record as pages can take it.

    A failed accuracy cell whose result was not finite has an infinite error, by definition: without
    this, a record that lost its infinity would drop out of every maximum. A timing whose figures no
    measurement gives (a time of 0, an infinite bandwidth) is an error without figures.
    """
    if isinstance(record, TimingRecord):
        figures = {name: getattr(record, name) for name in _POSITIVE}
        wrong = [n for n, x in figures.items() if x is not None and not 0 < x < math.inf]
        if not wrong:
            return record
        reason = f"no measurement gives {wrong[0]} = {figures[wrong[0]]}"
        nothing = dict.fromkeys((*_POSITIVE, "best_low_ns", "speedup_low", "speedup_high"))
        nothing |= dict.fromkeys(("gbps_low", "gbps_high", "percent_of_limit"))
        return record.model_copy(update={**nothing, "status": "error", "reason": reason})
    if not isinstance(record, AccuracyRecord) or record.max_ulp is not None:
        return record
    if record.status != "failed" or not record.nonfinite:
        return record
    changes = {"max_ulp": math.inf}
    if record.bound is not None and record.error_over_bound is None:
        changes["error_over_bound"] = math.inf
    return record.model_copy(update=changes)


def is_beside(record: Record) -> bool:
    """Whether a record is of a control or a limit, which are timed beside the implementations."""
    return isinstance(record, TimingRecord) and record.role != "implementation"


def absent_text(absent: Mapping[str, str]) -> str:
    """The implementations that a figure lacks, gathered by reason, as the end of its caption.

    Without those that could not run at all: the overview names them.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in absent.items():
        if reason != AT_THE_FOOT:
            by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)} ({reason})" for reason, names in by_reason.items()]
    return f" Not drawn: {'; '.join(parts)}." if parts else ""


def known(value: T | None) -> T:
    """A figure that its record has: the records were chosen by it."""
    if value is None:
        raise ValueError("known: expected a figure; got a record without it")
    return value


def of(records: Iterable[R], implementation: str) -> list[R]:
    """The records of an implementation."""
    return [c for c in records if c.implementation == implementation]


def measured(records: Iterable[R]) -> list[R]:
    """The records that hold figures."""
    return [c for c in records if c.status in MEASURED]


def class_counts(records: Iterable[Record]) -> list[int]:
    """The class counts of some records, rising."""
    return sorted({c.classes for c in records if c.classes and c.classes > 0})


def worst(records: Iterable[R], value: Callable[[R], float | None]) -> tuple[float, R] | None:
    """The largest `value` of the measured records, and the first that has it."""
    found = [(v, c) for c in measured(records) if (v := value(c)) is not None]
    return max(found, key=lambda pair: pair[0], default=None)


def worst_error(records: Iterable[AccuracyRecord]) -> tuple[float, AccuracyRecord] | None:
    """The largest error, in ulps, and its record."""
    return worst(records, lambda c: c.max_ulp)
