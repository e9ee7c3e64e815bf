"""The columns of a run's table: speed, largest errors, overflow, failed cases."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from rich.cells import cell_len

from harness.records import (
    AccuracyRecord,
    ConformanceRecord,
    DeviceThroughputRecord,
    ExhaustiveRecord,
    OverflowRecord,
    Record,
    ThroughputRecord,
    WorstCaseRecord,
)
from harness.records.conformance import DEVIATIONS
from harness.records.reader import Run
from harness.records.timing import TimingRecord
from harness.text import one_line

BEST = "*"
MOST = 3
"""So many names, reasons or warnings are told; the rest is counted."""
UNJUDGED = ("unsupported", "unavailable", "skipped")

_FORMATS = ("float32", "float64")
_REGIMES = {"cached": "in cache", "streaming": "beyond the cache", "latency": "of one row"}


@dataclass(frozen=True)
class Cell:
    """What a column says of one implementation.

    Attributes:
        text: as it is shown.
        value: that rows are ordered by, the larger the better; None where there is no figure.
        interval: that the value lies in; None for a figure that competes with no other.
        sure: known to the precision wanted.
    """

    text: str = "–"
    value: float | None = None
    interval: tuple[float, float] | None = None
    sure: bool = True


@dataclass(frozen=True)
class Column:
    """A figure of every implementation.

    Attributes:
        head: its name and unit.
        about: what it is of, a line below the table.
        cells: by implementation.
        praise: what its best is called, such as "fastest in cache"; empty: not told.
        unit: behind a figure in a sentence.
        joint: between names that are equally good: "or" where they are not told apart.
        told: what is said of it in place of its best.
    """

    head: str
    about: str
    cells: Mapping[str, Cell]
    praise: str = ""
    unit: str = ""
    joint: str = "or"
    told: str = ""

    def near_the_best(self, *, sure: bool) -> list[str]:
        """Who may be the best as far as the intervals tell, the best first; of one alone nobody."""
        known = [
            (name, c.value or 0.0, *c.interval, c.sure)
            for name, c in self.cells.items()
            if c.interval is not None
        ]
        if len(known) < 2:
            return []
        least = max([k for k in known if k[4]] or known, key=lambda k: k[1])[2]
        near = [k for k in known if k[3] >= least and k[4] == sure]
        return [k[0] for k in sorted(near, key=lambda k: -k[1])]

    @property
    def texts(self) -> dict[str, str]:
        """What is shown of each implementation, the best with its mark."""
        best = self.near_the_best(sure=True)
        return {name: BEST * (name in best) + cell.text for name, cell in self.cells.items()}

    @property
    def width(self) -> int:
        """Room for every word, and for the head in two lines."""
        texts = (self.head, *self.texts.values())
        words = max(cell_len(word) for text in texts for word in text.split())
        return next(w for w in count(words) if len(textwrap.wrap(self.head, w)) <= 2)


def number(x: float) -> str:
    """A figure to three digits, without an exponent below 100 000."""
    return f"{float(f'{x:.3g}'):.5g}".replace("e+0", "e").replace("e+", "e")


def some(names: Sequence[str], joint: str = "and") -> str:
    """A few names, and how many more there are."""
    told = list(names[:MOST])
    if len(names) > MOST:
        told.append(f"{len(names) - MOST} more")
    return f" {joint} ".join(t for t in (", ".join(told[:-1]), told[-1]) if t)


def _gap(records: Iterable[Record]) -> Cell:
    """Why there is no figure: the first status that says more than that it is not offered."""
    statuses = (r.status for r in records if r.status not in ("ok", "unsupported"))
    return Cell(next(statuses, "–").replace("_", " "))


def _timing(record: TimingRecord, figure: float | None) -> Cell:
    """A figure that is in proportion to the speed, with ~ or ! where it is doubtful."""
    if figure is None:
        return Cell()
    text = f"{'~' if record.noisy else ''}{number(figure)}"
    if record.ranked is False:
        return Cell(f"!{text}", -math.inf)
    low = high = 1.0  # of the interval, as multiples of the figure
    for middle, least, most in (
        (record.gbps, record.gbps_low, record.gbps_high),
        (record.speedup, record.speedup_low, record.speedup_high),  # which knows the control
    ):
        if middle and least is not None and most is not None:
            low, high = least / middle, most / middle
    return Cell(text, figure, (low * figure, high * figure), sure=not record.noisy)


@dataclass(frozen=True)
class _Timings:
    """The timings of a regime that are quoted: softmax in float32 near 1000 classes.

    Where those were not timed, others. Of all threads, or of the fewest.

    Attributes:
        quoted: by implementation.
        asked: every timing that was planned in the regime.
        about: what the quoted ones have in common.
    """

    quoted: Mapping[str, TimingRecord]
    asked: Sequence[TimingRecord]
    about: str

    @classmethod
    def of(
        cls, run: Run, kind: type[TimingRecord], regime: str, *, all_threads: bool = True
    ) -> _Timings | None:
        """None where nothing was to be timed."""
        asked = [
            r for r in run.records
            if isinstance(r, kind) and r.role == "implementation"
            and getattr(r, "regime", None) == regime and getattr(r, "cache", None) != "cold"
        ]  # fmt: skip
        timed = [r for r in asked if r.gbps is not None]
        if not timed:
            return cls({}, asked, "nothing was timed") if asked else None

        def rank(r: TimingRecord) -> tuple[object, ...]:
            threads = (r.threads or 0) * (-1 if all_threads else 1)
            classes = max(r.classes or 1, 1)
            return (
                r.operation != "softmax", r.operation, r.dtype != "float32", str(r.dtype),
                abs(math.log(classes / 1000)), classes, threads,
            )  # fmt: skip

        first = min(timed, key=rank)
        same = [r for r in timed if rank(r) == rank(first)]
        about = [first.operation, first.dtype, f"{first.classes} classes"]
        if first.threads is not None:
            about.append(f"{first.threads} thread{'s' * (first.threads != 1)}")
        return cls(
            {r.implementation: r for r in sorted(same, key=lambda r: not r.allocating)},
            asked,
            ", ".join(map(str, about)),
        )

    def cells(
        self, names: Iterable[str], figure: Callable[[TimingRecord], float | None]
    ) -> dict[str, Cell]:
        return {
            name: _timing(self.quoted[name], figure(self.quoted[name]))
            if name in self.quoted
            else _gap(r for r in self.asked if r.implementation == name)
            for name in names
        }


def _speeds(run: Run, names: Sequence[str]) -> Iterator[Column]:
    """Ratios in cache, of one row where nothing else was timed; bandwidths beyond the cache."""
    cached = _Timings.of(run, ThroughputRecord, "cached", all_threads=False)
    streamed = _Timings.of(run, ThroughputRecord, "streaming")
    regime = "cached"
    if cached is None and streamed is None:
        regime = "latency"
        cached = _Timings.of(run, ThroughputRecord, regime, all_threads=False)
    if cached is not None:
        where = _REGIMES[regime]
        unit = f"× {one_line(str(run.info.baseline), 20)}"
        about = f"speed: how many times as fast as the baseline, {where} ({cached.about})"
        cells = cached.cells(names, lambda r: r.speedup)
        yield Column(f"speed {unit}", about, cells, f"fastest {where}", unit)
    device = _Timings.of(run, DeviceThroughputRecord, "streaming")
    for timings, head, where in (
        (streamed, "GB/s", _REGIMES["streaming"]),
        (device, "device GB/s", "on the device"),
    ):
        if timings is not None:
            about = f"{head}, % of copy: {where} ({timings.about})"
            rates = timings.cells(names, lambda r: r.gbps)
            yield Column(head, about, rates, f"fastest {where}", "GB/s")
            yield Column("% of copy", about, timings.cells(names, lambda r: r.percent_of_limit))


def error_of(record: Record) -> float | None:
    """The largest error of a record in ulps; infinite where a result was not finite."""
    if isinstance(record, WorstCaseRecord):
        ulp = record.error_ulp
    elif isinstance(record, AccuracyRecord | ExhaustiveRecord):
        ulp = record.max_ulp
    else:
        return None
    lost = ulp is None and record.status == "failed" and getattr(record, "nonfinite", None)
    return math.inf if lost or (ulp is not None and math.isnan(ulp)) else ulp


def _errors(run: Run, names: Sequence[str]) -> Iterator[Column]:
    """Largest errors in the two formats that matter most of those measured."""
    asked: dict[str, dict[str, list[Record]]] = {}
    for r in run.records:
        if isinstance(r, AccuracyRecord | ExhaustiveRecord | WorstCaseRecord):
            asked.setdefault(str(r.dtype), {}).setdefault(r.implementation, []).append(r)
    columns = []
    for dtype, records in asked.items():
        ulps = {n: [u for r in records.get(n, ()) if (u := error_of(r)) is not None] for n in names}
        most = max(map(len, ulps.values()), default=0)
        cells = {}
        for name, mine in ulps.items():
            text = number(max(mine)) if mine else ""
            value = -float(text or 0)  # what looks the same is equally good
            competes = len(mine) == most and math.isfinite(value)
            cells[name] = Cell(text, value, (value, value) if competes else None)
            if not mine:
                cells[name] = _gap(records.get(name, ()))
        if most:
            about = "max ulp: the largest error on any input tried"
            praise = f"most accurate in {dtype}"
            columns.append(Column(f"{dtype} max ulp", about, cells, praise, "ulp", "and"))
    rank = [f"{dtype} max ulp" for dtype in _FORMATS]
    yield from sorted(columns, key=lambda c: (*rank, c.head).index(c.head))[:2]


def _overflow(run: Run, names: Sequence[str]) -> Iterator[Column]:
    """The last logit with a finite result."""
    asked = [
        r for r in run.records
        if isinstance(r, OverflowRecord) and r.operation == "softmax" and r.implementation in names
        and (r.kind, r.event, r.probe, r.sign) == ("threshold", "nonfinite", "dominant", 1)
    ]  # fmt: skip
    formats = [r.dtype for r in asked if r.occurs is not None]
    if not formats:
        return
    dtype = next((f for f in _FORMATS if f in formats), formats[0])
    cells = {name: Cell() for name in names}
    bad = []
    for r in asked:
        if r.dtype != dtype:
            continue
        if r.occurs is None:
            cells[r.implementation] = _gap([r])
        elif not r.occurs:
            cells[r.implementation] = Cell("never", math.inf)
        elif r.last_good is None:
            cells[r.implementation] = Cell("always", -math.inf)
            bad.append(f"{r.implementation} at every t")
        else:
            cells[r.implementation] = Cell(f"{r.last_good:.9g}", r.last_good)
            bad.append(f"{r.implementation} above t = {r.last_good:.4g}")
    about = f"overflow: the last t with a finite softmax of the row [t, 0] in {dtype}"
    told = f"overflows: {some(bad)}" if bad else ""
    yield Column("overflow above t", about, cells, told=told)


def _cases(run: Run, names: Sequence[str]) -> Iterator[Column]:
    """How many cases of the catalogue failed, of those judged."""
    judged = [
        r
        for r in run.records
        if isinstance(r, ConformanceRecord) and r.status not in UNJUDGED
        and (r.operation != DEVIATIONS or r.status != "ok")  # a declaration that fails is a case
    ]  # fmt: skip
    if not judged:
        return
    cells = {}
    for name in names:
        mine = [r.status != "ok" for r in judged if r.implementation == name]
        cells[name] = Cell(f"{sum(mine)}/{len(mine)}", -sum(mine)) if mine else Cell()
    yield Column("failed cases", "failed cases: of the catalogue, of those judged", cells)


def columns_of(run: Run, names: Sequence[str]) -> list[Column]:
    """Every column that has anything to say of the implementations in `names`."""
    return [
        column
        for make in (_speeds, _errors, _overflow, _cases)
        for column in make(run, names)
        if any(cell != Cell() for cell in column.cells.values())
    ]
