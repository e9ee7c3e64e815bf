"""The time budget of a run on a device: its parts in order, and how long each may take.

Ten minutes may not be enough for all of it: what stands first here is measured first, and what no
longer fits is the least important.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.experiments.context import Context, Unit
    from harness.experiments.profiles import Profile
    from harness.records import Record

BUDGET_S = 570.0
SHARES: Mapping[str, float] = {
    "tests": 0.14,
    "speed": 0.31,
    "conformance": 0.25,
    "accuracy": 0.07,
    "more speed": 0.16,
    "compiled": 0.02,
}
"""Of the budget; the rest is for the report. A part leaves what it saves to those after it."""
EXPERIMENTS = ("conformance", "accuracy", "device_throughput")
COMPILED_BY_SHAPE = ("torch_compile_cuda", "jax_cuda")
"""They compile for every shape, a second or more each time: judged last, with what time is left."""

_RANKS = {
    ("softmax", "streaming"): 0,
    ("cross_entropy_loss", "streaming"): 1,
    ("cross_entropy", "streaming"): 2,
    ("softmax", "graph"): 3,
    ("softmax", "launches"): 4,
    ("log_softmax", "streaming"): 5,
    ("softmax_backward", "streaming"): 6,
}
_FIRST = 3
"""Below it is the part ``speed``, the others are ``more speed``."""
_NARROW = 1024
"""Class counts below it come after the others of their kind."""


@dataclass
class BudgetPart:
    """One part of the run, for `gpu.PARTS_FILE`.

    Attributes:
        name: key of `SHARES`.
        until_s: when it had to be over, in seconds from the start.
        seconds: what it took.
        units, skipped: how many units of work it had, and how many did not fit.
        longest_s: of one unit.
        status: ``"ok"``, ``"failed"`` or ``"skipped"``, with the reason where it is not ok.
        output: the end of what the tests printed.
    """

    name: str
    until_s: float
    seconds: float = 0.0
    units: int = 0
    skipped: int = 0
    longest_s: float = 0.0
    status: str = "ok"
    reason: str | None = None
    output: str | None = None

    def line(self) -> str:
        """What became of it, in one line."""
        tail = f": {self.reason}" if self.reason else ""
        return (
            f"{self.name}: {self.status}, {self.seconds:.0f} s, {self.units} units, "
            f"{self.skipped} skipped{tail}"
        )


def deadlines(budget: float) -> dict[str, BudgetPart]:
    """The parts of a budget, each with the time by which it has to be over."""
    found, until = {}, 0.0
    for name, share in SHARES.items():
        until += share * budget
        found[name] = BudgetPart(name, until)
    return found


def within_budget(
    units: Iterable[Unit], part: BudgetPart, clock: Callable[[], float]
) -> list[Unit]:
    """The same units, which give skipped records once the time of their part is over.

    A unit also does not begin where less time is left than the longest of its part took so far;
    then none of its part does, and what runs ahead for them is ended. So is what a unit in flight
    waits for, when the time is over.

    Args:
        clock: seconds since the start of everything.
    """
    reason = f"time budget: {part.name} had to be over {part.until_s:.0f} s after the start"

    def measure(unit: Unit) -> Iterator[Record]:
        from harness.records.reader import cell_key

        written: set[str] = set()

        def skip_the_rest() -> Iterator[Record]:
            part.skipped, part.status, part.reason = part.skipped + 1, "skipped", reason
            for record in unit.coordinates:
                if cell_key(record) not in written:
                    yield record.ended("skipped", reason)

        started = clock()
        part.units += 1
        if started + part.longest_s > part.until_s:
            unit.abandon()
            yield from skip_the_rest()
            return
        ending = threading.Timer(part.until_s - started, unit.abandon)
        ending.daemon = True
        ending.start()
        try:
            for record in unit.measure():
                written.add(cell_key(record))
                yield record
        except Exception:
            if clock() < part.until_s:
                raise
            yield from skip_the_rest()
        finally:
            ending.cancel()
        took = clock() - started
        part.seconds += took
        part.longest_s = max(took, part.longest_s)

    return [replace(unit, measure=partial(measure, unit), parts=None) for unit in units]


def profile(name: str) -> Profile:
    """The grid: that of the profile of this name, without what needs no device."""
    from harness.experiments.profiles import PROFILES

    return replace(
        PROFILES[name],
        name=f"gpu-{name}",
        experiments=EXPERIMENTS,
        dtypes=("float32", "bfloat16", "float16", "float64"),
        operations=("softmax", "log_softmax", "softmax_backward", "cross_entropy"),
    )


def _rank(unit: Unit) -> int:
    first = unit.coordinates[0]
    regime = str(getattr(first, "regime", None))
    return _RANKS.get((str(first.operation), regime), len(_RANKS))


def _place(unit: Unit) -> tuple[int, bool, int]:
    classes = unit.coordinates[0].classes or 0
    return _rank(unit), classes < _NARROW, classes


def planned(context: Context) -> dict[str, list[Unit]]:
    """The units of every part but the tests, in the order in which they are measured.

    The same cells as `plans.plan` has.
    """
    from harness.experiments.plans import EXPERIMENTS as PLANS

    wanted = [n for n in context.profile.experiments if n in EXPERIMENTS]
    apart = {i.name: i.name in COMPILED_BY_SHAPE for i in context.implementations}
    at_once, compiled = (
        replace(context, implementations=[i for i in context.implementations if apart[i.name] == w])
        for w in (False, True)
    )
    found: dict[str, list[Unit]] = {name: [] for name in SHARES if name != "tests"}
    if "device_throughput" in wanted:
        # One class count after the other, in every format: as many as there is time for.
        for unit in sorted(PLANS["device_throughput"](context), key=_place):
            found["speed" if _rank(unit) < _FIRST else "more speed"].append(unit)
    for name in ("conformance", "accuracy"):
        if name in wanted:
            found[name] += [u for u in PLANS[name](at_once) if u.coordinates or u.concluding]
    for name in ("accuracy", "conformance"):  # the shorter one first
        if name in wanted:
            found["compiled"] += [u for u in PLANS[name](compiled) if u.coordinates or u.concluding]
    return found
