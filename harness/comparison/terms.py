"""Chooses the unit in which times are compared: multiples of a shared baseline, or nanoseconds.

Two implementations of one run were visited in the same rounds, and their times are compared as they
are. Between two runs with the same unchanged baseline every time is set against that of the
baseline in its run, and what slowed both alike is gone. Otherwise copies, the harness's own code in
every run, tell how much the machine changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from harness.comparison.operands import Side
from harness.records import ImplementationInfo, Record, RunInfo
from harness.records.timing import CONTROL_SUFFIX

EXPERIMENTS = ("throughput", "device_throughput")
"""Whose records are timings: they have samples, and copies and controls beside them."""

NONTEMPORAL = "copy_nontemporal"

_CELL = ("regime", "dtype", "classes", "rows", "threads", "workload", "seed", "cache")

Factors = Mapping[tuple[Any, ...], tuple[float, float]]
"""For each cell of the grid, the smallest and the largest factor by which the same code differed,
1 included."""


def cell_of(record: Record) -> tuple[Any, ...]:
    """The point of the grid that a record belongs to: what was timed beside the same baseline."""
    # Records from before there were cold ones do not say that they are warm.
    values = (getattr(record, name, None) for name in _CELL)
    beside: str | None = getattr(record, "beside", None)
    own = record.operation if getattr(record, "role", None) != "limit" else "copy"
    operation = beside or ("softmax" if own == "copy" else own)
    return (operation, *(None if v == "warm" else v for v in values))


def baselines(records: Iterable[Record]) -> dict[tuple[Any, ...], Record]:
    """The baseline's timing in each cell: of its two ways to be called the first."""
    found: dict[tuple[Any, ...], Record] = {}
    for record in records:
        r: Any = record
        if r.experiment in EXPERIMENTS and r.samples_ns and r.baseline == r.implementation:
            found.setdefault(cell_of(r), r)
    return found


def unchanged_baseline(base: Side, new: Side) -> str | None:
    """The baseline that two runs have, the same code on the same versions; None without one."""
    a, b = base.run.info, new.run.info
    name = a.baseline
    return name if name is not None and name == b.baseline and _unchanged(name, a, b) else None


def _unchanged(name: str, a: RunInfo, b: RunInfo) -> bool:
    """Whether an implementation is of the same source, on the same versions of what it needs."""
    first, second = _described(name, a), _described(name, b)
    if first is None or second is None or not first.sha256 or first.sha256 != second.sha256:
        return False
    needed = {"python", "numpy", first.backend, *first.requires}
    return all(a.versions.get(n) == b.versions.get(n) for n in needed)


def _described(name: str, info: RunInfo) -> ImplementationInfo | None:
    return next((i for i in info.implementations if i.name == name), None)


def _widen(
    factors: dict[tuple[Any, ...], tuple[float, float]], cell: tuple[Any, ...], by: float
) -> None:
    low, high = factors.get(cell, (1.0, 1.0))
    factors[cell] = min(low, by), max(high, by)


def of_controls(*sides: Side) -> Factors:
    """By what two processes of the baseline differed in each cell, to either side."""
    found: dict[tuple[Any, ...], tuple[float, float]] = {}
    for side in sides:
        for record in side.run.records:
            speedup = getattr(record, "speedup", None)
            if getattr(record, "role", None) == "control" and speedup and _is_baseline(record):
                for by in (speedup, 1.0 / speedup):
                    _widen(found, cell_of(record), by)
    return found


def _is_baseline(control: Record) -> bool:
    name = control.implementation.removesuffix(CONTROL_SUFFIX)
    return getattr(control, "baseline", None) == name and control.operation != "copy"


def of_copies(base: Iterable[Record], new: Iterable[Record]) -> Factors:
    """By what the times of copies changed in each cell, from one run to the other: of medians.

    Those with non-temporal stores tell nothing: within a cache their processes differ by 40%.
    """
    before = {(r.implementation, *cell_of(r)): r for r in base if r.implementation != NONTEMPORAL}
    found: dict[tuple[Any, ...], tuple[float, float]] = {}
    for record in new:
        a: Any = before.get((record.implementation, *cell_of(record)))
        b: Any = record
        if a is not None and a.samples_ns and b.samples_ns:
            _widen(found, cell_of(b), float(np.median(b.samples_ns) / np.median(a.samples_ns)))
    return found
