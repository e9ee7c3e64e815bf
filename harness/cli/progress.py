"""What `run` shows: a bar with the time left, plain lines off a terminal, and a summary."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeGuard

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from harness.experiments.context import Unit
from harness.experiments.runner import Progress
from harness.records import Record, ThroughputRecord
from harness.records.reader import Run
from harness.records.timing import TimingRecord
from harness.text import plain, say, table

_LINE_EVERY_S = 10.0
_ETA_AFTER = 0.02


class _Eta:
    """Seconds left: the weights of the units to come, at the pace of the finished ones."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.left: dict[str, float] = defaultdict(float)  # weights, by experiment
        self.done: dict[str, float] = defaultdict(float)
        self.spent: dict[str, float] = defaultdict(float)  # seconds
        for unit in units:
            self.left[unit.experiment] += unit.weight
        self.count, self.total = 0, len(units)
        self.since = time.monotonic()

    def finished(self, unit: Unit) -> None:
        now = time.monotonic()
        self.spent[unit.experiment] += now - self.since
        self.done[unit.experiment] += unit.weight
        self.left[unit.experiment] -= unit.weight
        self.count += 1
        self.since = now

    def text(self) -> str:
        """Time left as m:ss; nothing is promised before some of the work has been seen."""
        seen = sum(self.done.values())
        if seen < _ETA_AFTER * (seen + sum(self.left.values())):
            return "unknown"
        minutes, seconds = divmod(max(0, round(self.seconds())), 60)
        return f"{minutes}:{seconds:02}"

    def seconds(self) -> float:
        done = sum(self.done.values())
        overall = sum(self.spent.values()) / done if done else 1.0
        return sum(
            left * (self.spent[e] / self.done[e] if self.done[e] else overall)
            for e, left in self.left.items()
        )


@contextmanager
def progress(console: Console | None = None) -> Iterator[Progress]:
    """Callbacks for the runner, shown on standard error: as a bar, off a terminal as lines."""
    console = console or Console(stderr=True)
    lines = not console.is_terminal
    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left {task.fields[eta]}", markup=False),
        console=console,
        transient=True,
    )
    tell = partial(say, console)
    eta, last = _Eta(()), 0.0

    def started(units: Sequence[Unit], done: int) -> None:
        nonlocal eta
        eta = _Eta(units)
        bar.add_task("", total=len(units) + done, completed=done, eta="?")
        if lines:
            resumed = f", {done} done before" if done else ""
            tell(f"measuring {len(units)} units{resumed}")

    def unit(current: Unit) -> None:
        bar.update(bar.task_ids[-1], description=plain(current.label)[:48].ljust(48))

    def finished(current: Unit, records: Sequence[Record]) -> None:
        nonlocal last
        eta.finished(current)
        if line := speeds(current, records):
            tell(line)
        bar.update(bar.task_ids[-1], advance=1, eta=eta.text())
        now = time.monotonic()
        if lines and (now - last >= _LINE_EVERY_S or eta.count == eta.total):
            last = now
            tell(f"{eta.count}/{eta.total} {current.label} (left {eta.text()})")

    with nullcontext() if lines else bar:
        yield Progress(started=started, unit=unit, finished=finished, note=tell)


_TOLD = 4


def speeds(unit: Unit, records: Sequence[Record]) -> str | None:
    """The fastest of a group of timings in a line, once they are known; None of other units."""
    of_each = {
        r.implementation: r for r in reversed(records)  # with out= before without
        if isinstance(r, TimingRecord) and r.role == "implementation" and r.status == "ok"
        and r.speedup and r.implementation != r.baseline
    }  # fmt: skip
    timed = list(of_each.values())
    known = sorted((r for r in timed if not r.noisy), key=lambda r: -(r.speedup or 0.0))
    if not timed:
        return None
    told = ", ".join(f"{r.implementation} {r.speedup:.3g} ×" for r in known[:_TOLD])
    more = f", {len(known) - _TOLD} more" if len(known) > _TOLD else ""
    left = f"; {len(timed) - len(known)} undecided" if len(known) < len(timed) else ""
    return f"{unit.label}: {told or 'nothing yet'}{more} of {timed[0].baseline}{left}"


def _cells(run: Run, name: str, experiment: str, **equal: object) -> list[Any]:
    """The records of an implementation in an experiment, with the given values."""
    return [
        r
        for r in run.records
        if (r.implementation, r.experiment) == (name, experiment)
        and all(getattr(r, field) == value for field, value in equal.items())
    ]


def _worst_ulp(run: Run, name: str, dtype: str) -> str:
    found = _cells(run, name, "accuracy", dtype=dtype)
    ulps = [r.max_ulp for r in found if r.max_ulp is not None]
    if ulps:
        return f"{max(ulps):.3g}"
    return found[0].status if found else "–"


def _threshold(run: Run, name: str, dtype: str) -> str:
    event = {"kind": "threshold", "event": "nonfinite", "probe": "dominant", "sign": 1}
    found = _cells(run, name, "overflow", dtype=dtype, **event)
    if not found:
        return "–"
    record = found[0]
    if record.occurs is None:
        return str(record.status)
    return f"{record.last_good:.9g}" if record.occurs else "never"


_Point = tuple[str, str | None, int]
"""Operation, format and class count of the timings whose speeds the summary quotes."""


def _quoted(run: Run) -> _Point | None:
    """Softmax in float32 near 1000 classes where that was timed, else what was, if anything."""
    points = {_point(r) for r in run.records if _streaming(r) and r.gbps is not None}

    def rank(point: _Point) -> tuple[object, ...]:
        operation, dtype, classes = point
        distance = abs(math.log(classes / 1000))
        return operation != "softmax", operation, dtype != "float32", str(dtype), distance

    return min(points, key=rank, default=None)


def _point(record: ThroughputRecord) -> _Point:
    return record.operation, record.dtype, record.classes or 1


def _streaming(record: Record) -> TypeGuard[ThroughputRecord]:
    """Whether it is a timing of an implementation on arrays beyond the caches."""
    return (
        isinstance(record, ThroughputRecord)
        and record.regime == "streaming" and record.role == "implementation"
    )  # fmt: skip


def _speed(run: Run, name: str, quoted: _Point | None) -> tuple[str, str]:
    found = [r for r in _cells(run, name, "throughput") if _streaming(r)]
    timed = [r for r in found if r.gbps is not None and _point(r) == quoted]
    if not timed:
        return (found[0].status if found else "–"), "–"
    best = max(timed, key=lambda r: (not r.allocating, r.threads or 0))
    struck = "" if best.ranked else " (gate failed)"
    about = "~" if best.noisy else ""
    share = "–" if best.percent_of_limit is None else f"{about}{best.percent_of_limit:.3g}"
    return f"{about}{best.gbps:.3g}{struck}", share


def _caption(run: Run, quoted: _Point | None) -> str:
    """What the columns mean, of those that hold a number."""
    kinds = {r.experiment for r in run.records}
    parts = []
    if "accuracy" in kinds:
        parts.append("max ulp: worst over all inputs")
    if "overflow" in kinds:
        parts.append("overflow: last finite t of the row [t, 0]")
    if quoted is not None:
        operation, dtype, classes = quoted
        parts.append(f"GB/s: streaming, {operation}, {classes} classes, {dtype}")
        parts.append("%: of the copy limit")
        if any(getattr(r, "noisy", None) for r in run.records):
            parts.append("~: not known to the precision wanted")
    return "; ".join(parts)


def summary(run: Run, console: Console | None = None) -> None:
    """The table at the end of a run: accuracy, overflow and throughput of each implementation."""
    console = console or Console()
    quoted = _quoted(run)
    header = ("implementation", "max ulp f32", "max ulp f64", "overflow f32", "GB/s", "% of limit")
    rows = [
        (
            one.name,
            _worst_ulp(run, one.name, "float32"),
            _worst_ulp(run, one.name, "float64"),
            _threshold(run, one.name, "float32"),
            *_speed(run, one.name, quoted),
        )
        for one in run.info.implementations
        if one.available
    ]
    title = f"{run.info.profile} run on {run.machine}"
    console.print(table(header, rows, title=title, caption=_caption(run, quoted), right=1))
    for one in run.info.implementations:
        if not one.available:
            say(console, f"{one.name}: unavailable, {one.unavailable_reason or 'no reason given'}")
    for name, cell in run.unmeasured.items():
        if cell.status not in ("unavailable", "unsupported", "skipped"):
            say(console, f"{name}: nothing was measured, {cell.status}: {cell.reason}")
    counts = Counter(r.status for r in run.records)
    say(console, "cells: " + ", ".join(f"{n} {s}" for s, n in sorted(counts.items())))
    for warning in run.info.warnings:
        say(console, f"warning: {warning}")


def where_the_time_went(run: Run, report: float, console: Console | None = None) -> None:
    """A table of what the run spent its seconds on, the longest first."""
    spent = sorted((run.info.seconds | {"report": report}).items(), key=lambda kv: -kv[1])
    rows = [(what, f"{seconds:.1f}") for what, seconds in spent]
    rows.append(("in all", f"{sum(s for _, s in spent):.1f}"))
    (console or Console()).print(table(("what", "seconds"), rows, right=1))
