"""What `run` shows: a bar with the time left, plain lines off a terminal, and a summary."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

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


@dataclass(frozen=True)
class _Quoted:
    """The timings of a regime that the summary quotes: softmax in float32 near 1000 classes.

    Where those were not timed, others. Of all threads, or of the fewest.

    Attributes:
        records: by implementation.
        about: the regime and what else they have in common.
    """

    regime: str
    records: dict[str, ThroughputRecord]
    about: str

    @classmethod
    def of(cls, run: Run, regime: str, *, all_threads: bool) -> _Quoted | None:
        """None where nothing was to be timed."""
        asked = [
            r
            for r in run.records
            if isinstance(r, ThroughputRecord) and r.role == "implementation"
            and r.regime == regime and r.cache != "cold"
        ]  # fmt: skip
        timed = [r for r in asked if r.gbps is not None]
        if not timed:
            return cls(regime, {}, f"{regime}: nothing was timed") if asked else None

        def rank(r: ThroughputRecord) -> tuple[object, ...]:
            threads = (r.threads or 0) * (-1 if all_threads else 1)
            classes = r.classes or 1
            return (
                r.operation != "softmax", r.operation, r.dtype != "float32", str(r.dtype),
                abs(math.log(classes / 1000)), classes, threads,
            )  # fmt: skip

        first = min(timed, key=rank)
        same = [r for r in timed if rank(r) == rank(first)]
        threads = f"{first.threads} thread{'s' * (first.threads != 1)}"
        return cls(
            regime,
            {r.implementation: r for r in sorted(same, key=lambda r: not r.allocating)},
            f"{regime}, {first.operation}, {first.classes} classes, {first.dtype}, {threads}",
        )

    def told(self, run: Run, name: str, value: Callable[[ThroughputRecord], float | None]) -> str:
        """A figure of an implementation, with ~ where it is not known to the precision wanted."""
        record = self.records.get(name)
        if record is None:
            found = _cells(run, name, "throughput", regime=self.regime)
            return next((r.status for r in found if r.status != "ok"), "–")
        figure = value(record)
        if figure is None:
            return "–"
        struck = "" if record.ranked else " (gate failed)"
        return f"{'~' if record.noisy else ''}{figure:.3g}{struck}"


def _speeds(run: Run, names: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Columns of the timings: head, what it means, and the figure of each implementation.

    Ratios in cache, of one row where nothing else was timed; and bandwidths beyond the cache.
    """
    cached = _Quoted.of(run, "cached", all_threads=False)
    streamed = _Quoted.of(run, "streaming", all_threads=True)
    if cached is None and streamed is None:
        cached = _Quoted.of(run, "latency", all_threads=False)
    if cached is not None:
        about = f"speed: × {run.info.baseline}; {cached.about}"
        yield "speed", about, [cached.told(run, name, lambda r: r.speedup) for name in names]
    if streamed is not None:
        about = f"GB/s, % of the best copy: {streamed.about}"
        yield "GB/s", about, [streamed.told(run, name, lambda r: r.gbps) for name in names]
        shares = [streamed.told(run, name, lambda r: r.percent_of_limit) for name in names]
        yield "% of copy", about, shares


def summary(run: Run, console: Console | None = None) -> None:
    """The table at the end of a run: accuracy, overflow and speed of each implementation.

    Without the columns of what was not measured.
    """
    console = console or Console()
    names = [one.name for one in run.info.implementations if one.available]
    columns = [
        ("max ulp f32", "max ulp: worst over all inputs",
         [_worst_ulp(run, name, "float32") for name in names]),
        ("max ulp f64", "max ulp: worst over all inputs",
         [_worst_ulp(run, name, "float64") for name in names]),
        ("overflow f32", "overflow: last finite t of the row [t, 0]",
         [_threshold(run, name, "float32") for name in names]),
        *_speeds(run, names),
    ]  # fmt: skip
    shown = [(head, about, told) for head, about, told in columns if set(told) != {"–"}]
    rows = list(zip(names, *(told for _, _, told in shown), strict=True))
    header = ("implementation", *(head for head, _, _ in shown))
    say(console, f"{run.info.profile} run on {run.machine}")
    console.print(table(header, rows, right=1))
    for line in dict.fromkeys(about for _, about, _ in shown):
        say(console, line)
    if any(figure.startswith("~") for _, _, told in shown for figure in told):
        say(console, "~: not known to the precision wanted")
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
