"""The unchanged baseline of two runs, whose time is the unit in which their times are compared.

Nothing pairs the rounds of two runs, and a machine that was slower in one of them slows everything.
Where both had the same baseline, of the same source and on the same versions, it was timed in every
round of both: times over its time in the same round are free of what slowed the two alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.comparison.drift import EXPERIMENTS, cell_of, samples_of
from harness.comparison.operands import Pair, Side
from harness.comparison.timings import of_processes, relative
from harness.records import ImplementationInfo, Record, RunInfo
from harness.records.timing import CONTROL_SUFFIX

_Cells = Mapping[tuple[Any, ...], Record]


@dataclass(frozen=True)
class Yardstick:
    """The timings of the baseline of two runs and of its controls.

    They are found by cell and by whether the call allocates its result.

    Attributes:
        name: of the baseline.
        base, new: its records in the two runs.
        controls: records of the same code in another process, in the two runs.
    """

    name: str
    base: _Cells
    new: _Cells
    controls: tuple[_Cells, _Cells]

    def beside(self, pair: Pair) -> Pair | None:
        """The baseline's records from the rounds of `pair`; None where they cannot be used."""
        if pair.implementation == self.name:
            return None
        return _usable(pair, self.base, self.new)

    def moved(self, pair: Pair) -> tuple[float, float]:
        """Smallest and largest factor by which control ÷ baseline changed between the runs.

        One of them is 1; both where processes are the sample, whose scatter shows such changes.
        """
        controls = _usable(pair, *self.controls)
        beside = self.beside(pair)
        if controls is None or beside is None or of_processes(pair):
            return 1.0, 1.0
        a, b = relative(controls, beside)
        ratio = float(np.median(b) / np.median(a))
        return min(1.0, ratio), max(1.0, ratio)


def _usable(pair: Pair, before: _Cells, after: _Cells) -> Pair | None:
    """The records from the rounds of `pair`, with a time for each round; None if there are none.

    If the pair's calls allocate, records of calls that allocate come first, else the others.
    """
    cell = cell_of(pair.new)
    kinds = (True, False) if getattr(pair.new, "allocating", False) else (False, True)
    found = ((before.get((*cell, k)), after.get((*cell, k))) for k in kinds)
    base, new = next((f for f in found if None not in f), (None, None))
    for record, other in ((pair.base, base), (pair.new, new)):
        if other is None or getattr(record, "processes", None) != getattr(other, "processes", None):
            return None
        samples = samples_of(other)
        if len(samples) != len(samples_of(record)):
            return None
        if other.status != "ok" or not all(s > 0 for s in samples):
            return None
    assert base is not None
    assert new is not None
    return Pair(base, new, base.implementation, pair.where)


def find(base: Side, new: Side) -> Yardstick | None:
    """The baseline that two runs have in common; None if they have none, or it changed."""
    a, b = base.run.info, new.run.info
    name = a.baseline
    if name is None or name != b.baseline or not _unchanged(name, a, b):
        return None
    named = (name, name + CONTROL_SUFFIX)
    ours, theirs = ([_cells(side.run.records, n) for n in named] for side in (base, new))
    return Yardstick(name, ours[0], theirs[0], (ours[1], theirs[1]))


def _cells(records: Iterable[Record], name: str) -> _Cells:
    return {
        (*cell_of(r), bool(getattr(r, "allocating", False))): r
        for r in records
        if r.implementation == name and r.experiment in EXPERIMENTS
    }


def _unchanged(name: str, a: RunInfo, b: RunInfo) -> bool:
    """Whether an implementation is of the same source, on the same versions of what it needs."""
    described = [_described(name, info) for info in (a, b)]
    first, second = described
    if first is None or second is None or not first.sha256 or first.sha256 != second.sha256:
        return False
    needed = {"python", "numpy", first.backend, *first.requires}
    return all(a.versions.get(n) == b.versions.get(n) for n in needed)


def _described(name: str, info: RunInfo) -> ImplementationInfo | None:
    return next((i for i in info.implementations if i.name == name), None)
