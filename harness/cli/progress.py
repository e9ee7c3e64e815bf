"""What `run` shows while it measures: a bar with the time left, plain lines off a terminal."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from harness.experiments.context import Unit
from harness.experiments.runner import Progress
from harness.records import Record
from harness.records.timing import TimingRecord
from harness.text import plain, say

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
