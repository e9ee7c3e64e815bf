"""What `run` shows: a bar with the time left, plain lines off a terminal, and a summary."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.table import Table
from rich.text import Text

from harness.experiments.context import Unit
from harness.experiments.runner import Progress
from harness.records import Record, ThroughputRecord
from harness.records.reader import Run
from harness.text import plain

_LINE_EVERY_S = 10.0
_ETA_AFTER = 0.02


class _Eta:
    """Seconds left, from the weights of the units that are done; their scale is learnt."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.left = {e: sum(u.weight for u in units if u.experiment == e) for e in _names(units)}
        self.done = dict.fromkeys(self.left, 0.0)
        self.spent = dict.fromkeys(self.left, 0.0)
        self.since = time.monotonic()

    def finished(self, unit: Unit) -> None:
        now = time.monotonic()
        self.spent[unit.experiment] += now - self.since
        self.done[unit.experiment] += unit.weight
        self.left[unit.experiment] -= unit.weight
        self.since = now

    def text(self) -> str:
        """Time left as m:ss; nothing is promised before some of the work has been seen."""
        seen = sum(self.done.values())
        if seen < _ETA_AFTER * (seen + sum(self.left.values())):
            return "unknown"
        return _clock(self.seconds())

    def seconds(self) -> float:
        total_done, total_spent = sum(self.done.values()), sum(self.spent.values())
        overall = total_spent / total_done if total_done else 1.0
        return sum(
            left * (self.spent[e] / self.done[e] if self.done[e] else overall)
            for e, left in self.left.items()
        )


def _names(units: Sequence[Unit]) -> list[str]:
    return list(dict.fromkeys(u.experiment for u in units))


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02}"


@contextmanager
def progress(console: Console | None = None) -> Iterator[Progress]:
    """Callbacks for the runner, shown on standard error."""
    console = console or Console(stderr=True)
    with _bar(console) if console.is_terminal else _lines(console) as callbacks:
        yield callbacks


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left {task.fields[eta]}", markup=False),
        console=console,
        transient=True,
    )
    state: dict[str, Any] = {}

    def started(units: Sequence[Unit], done: int) -> None:
        state["eta"] = _Eta(units)
        state["task"] = bar.add_task("", total=len(units) + done, completed=done, eta="?")

    def unit(current: Unit) -> None:
        bar.update(state["task"], description=plain(current.label)[:48].ljust(48))

    def finished(current: Unit, _: Sequence[Record]) -> None:
        state["eta"].finished(current)
        bar.update(state["task"], advance=1, eta=state["eta"].text())

    with bar:
        yield Progress(
            started=started,
            unit=unit,
            finished=finished,
            note=lambda text: bar.console.print(Text(plain(text))),
        )


@contextmanager
def _lines(console: Console) -> Iterator[Progress]:
    state: dict[str, Any] = {"last": 0.0, "count": 0}

    def say(text: str) -> None:
        console.print(Text(plain(text)), soft_wrap=True)

    def started(units: Sequence[Unit], done: int) -> None:
        state.update(eta=_Eta(units), total=len(units), count=0)
        resumed = f", {done} done before" if done else ""
        say(f"measuring {len(units)} units{resumed}")

    def finished(current: Unit, _: Sequence[Record]) -> None:
        state["eta"].finished(current)
        state["count"] += 1
        now = time.monotonic()
        if now - state["last"] >= _LINE_EVERY_S or state["count"] == state["total"]:
            state["last"] = now
            left = state["eta"].text()
            say(f"{state['count']}/{state['total']} {current.label} (left {left})")

    yield Progress(started=started, finished=finished, note=say)


def _largest(records: Sequence[Any], figure: str) -> Any:
    values = [getattr(r, figure) for r in records if getattr(r, figure) is not None]
    return max(values, default=None)


def _number(value: float | None, form: str = ".3g") -> str:
    if value is None:
        return "–"
    return "inf" if math.isinf(value) else format(value, form)


def _worst_ulp(run: Run, name: str, dtype: str) -> str:
    found = [
        r
        for r in run.records
        if r.experiment == "accuracy" and r.implementation == name and r.dtype == dtype
    ]
    measured = [r for r in found if getattr(r, "max_ulp", None) is not None]
    if not measured:
        return found[0].status if found else "–"
    return _number(_largest(measured, "max_ulp"))


def _threshold(run: Run, name: str, dtype: str) -> str:
    found: list[Any] = [
        r
        for r in run.records
        if r.experiment == "overflow" and r.implementation == name and r.dtype == dtype
        and getattr(r, "kind", None) == "threshold" and getattr(r, "event", None) == "nonfinite"
        and getattr(r, "probe", None) == "dominant" and getattr(r, "sign", None) == 1
    ]  # fmt: skip
    if not found:
        return "–"
    record = found[0]
    if record.occurs is None:
        return str(record.status)
    return f"{record.last_good:.9g}" if record.occurs else "never"


class _Timed(NamedTuple):
    """The one grid point whose speeds the summary quotes."""

    operation: str
    dtype: str
    classes: int


def _timed(run: Run) -> _Timed | None:
    """Softmax, float32 and 1000 classes where they were timed, else what was; None for nothing."""
    found: list[Any] = [r for r in _streaming(run) if r.gbps is not None]
    if not found:
        return None
    operations = {r.operation for r in found}
    operation = "softmax" if "softmax" in operations else min(operations)
    dtypes = {r.dtype for r in found if r.operation == operation}
    dtype = "float32" if "float32" in dtypes else min(dtypes)
    counts = sorted({r.classes for r in found if (r.operation, r.dtype) == (operation, dtype)})
    return _Timed(operation, dtype, 1000 if 1000 in counts else counts[len(counts) // 2])


def _streaming(run: Run) -> list[ThroughputRecord]:
    return [
        r
        for r in run.records
        if isinstance(r, ThroughputRecord)
        and r.regime == "streaming" and r.role == "implementation"
    ]  # fmt: skip


def _speed(run: Run, name: str, quoted: _Timed | None) -> tuple[str, str]:
    found: list[Any] = [r for r in _streaming(run) if r.implementation == name]
    timed = [r for r in found if r.gbps is not None and (r.operation, r.dtype, r.classes) == quoted]
    timed = [r for r in timed if not r.allocating] or timed
    if not timed:
        return (found[0].status if found else "–"), "–"
    best = max(timed, key=lambda r: r.threads or 0)
    struck = "" if best.ranked else " (gate failed)"
    about = "~" if best.noisy else ""
    share = "–" if best.percent_of_limit is None else f"{about}{best.percent_of_limit:.3g}"
    return f"{about}{best.gbps:.3g}{struck}", share


def _caption(run: Run, quoted: _Timed | None) -> str:
    """What the columns are; nothing of those that hold no figure."""
    kinds = {r.experiment for r in run.records}
    parts = []
    if "accuracy" in kinds:
        parts.append("max ulp: worst over all inputs")
    if "overflow" in kinds:
        parts.append("overflow: last finite t of the row [t, 0]")
    if quoted is not None:
        parts.append(
            f"GB/s: streaming, {quoted.operation}, {quoted.classes} classes, {quoted.dtype}"
        )
        parts.append("%: of the copy limit")
    return "; ".join(parts)


def summary(run: Run, console: Console | None = None) -> None:
    """The table at the end of a run: accuracy, overflow and throughput of each implementation."""
    console = console or Console()
    quoted = _timed(run)
    table = Table(
        title=Text(f"{run.info.profile} run on {plain(run.machine)}"),
        title_justify="left",
        caption=Text(_caption(run, quoted)),
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("implementation", no_wrap=True)
    for name in ("max ulp f32", "max ulp f64", "overflow f32", "GB/s", "% of limit"):
        table.add_column(name, justify="right")
    absent = [one for one in run.info.implementations if not one.available]
    for one in run.info.implementations:
        if one.available:
            cells = (
                _worst_ulp(run, one.name, "float32"),
                _worst_ulp(run, one.name, "float64"),
                _threshold(run, one.name, "float32"),
                *_speed(run, one.name, quoted),
            )
            table.add_row(Text(plain(one.name)), *(Text(c) for c in cells))
    console.print(table)
    for one in absent:
        reason = plain(one.unavailable_reason or "no reason given")
        console.print(Text(f"{plain(one.name)}: unavailable, {reason}"), soft_wrap=True)
    for name, cell in run.unmeasured.items():
        if cell.status not in ("unavailable", "unsupported", "skipped"):
            why = plain(f"{name}: nothing was measured, {cell.status}: {cell.reason}")
            console.print(Text(why), soft_wrap=True)
    counts: dict[str, int] = {}
    for record in run.records:
        counts[record.status] = counts.get(record.status, 0) + 1
    console.print(Text("cells: " + ", ".join(f"{n} {s}" for s, n in sorted(counts.items()))))
    noisy = len(
        {
            (r.regime, r.classes, r.threads)
            for r in run.records
            if isinstance(r, ThroughputRecord) and r.noisy
        }
    )
    if noisy:
        console.print(
            Text(
                f"noisy (~): {noisy} timing groups whose control misses 1.0, or whose copies lost "
                f"their processors to other programs; close those and run again"
            ),
            soft_wrap=True,
        )
    for warning in run.info.warnings:
        console.print(Text("warning: " + plain(warning)), soft_wrap=True)
