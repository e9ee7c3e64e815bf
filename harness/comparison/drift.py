"""Drift of the machine: how much the times of unchanged code changed between and within runs.

Copies are the harness's own code, the same in every run; a control is the baseline in another
process. By as much as these differ, other code may differ without having changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.numerics.statistics import paired_ratio
from harness.records import Record
from harness.records.timing import CONTROL_SUFFIX

LEAST = 3
"""Samples below which nothing is said: three against three can separate by chance in 1 of 20."""

EXPERIMENTS = ("throughput", "device_throughput")
"""Whose records are timings: they have samples, and copies and controls beside them."""

_CELL = ("regime", "dtype", "classes", "rows", "threads", "workload", "seed", "cache")


def samples_of(record: Any) -> list[float]:
    """Samples of a timing, ns."""
    return list(record.samples_ns or ())


def cell_of(record: Record) -> tuple[Any, ...]:
    """The point of the grid that a record belongs to: what was timed in the same rounds."""
    # Records from before there were cold ones do not say that they are warm.
    values = (getattr(record, name, None) for name in _CELL)
    return (_operation(record), *(None if v == "warm" else v for v in values))


def _operation(record: Record) -> str:
    """The operation in whose rounds the timing was taken; for limits on the host, softmax."""
    beside: str | None = getattr(record, "beside", None)
    own = record.operation if getattr(record, "role", None) != "limit" else "copy"
    return beside or ("softmax" if own == "copy" else own)


Ranges = dict[tuple[Any, ...], tuple[float, float]]
"""For each cell of the grid, the smallest and the largest ratio seen, 1 included."""


def _widen(ranges: Ranges, cell: tuple[Any, ...], ratio: float) -> None:
    low, high = ranges.get(cell, (1.0, 1.0))
    ranges[cell] = min(low, ratio), max(high, ratio)


def drifts(base: Iterable[Record], new: Iterable[Record]) -> Ranges:
    """Range of new / base of the copies' median times; they are the same code in every run."""
    before = {(r.implementation, *cell_of(r)): r for r in base}
    found: Ranges = {}
    for record in new:
        other = before.get((record.implementation, *cell_of(record)))
        if other is None or len(samples_of(other)) < LEAST or len(samples_of(record)) < LEAST:
            continue
        ratio = float(np.median(samples_of(record)) / np.median(samples_of(other)))
        _widen(found, cell_of(record), ratio)
    return found


def control_ratios(records: Iterable[Record]) -> Ranges:
    """Range of the ratios control / original, the same code in two processes of one run.

    A second process has its arrays and its code elsewhere in memory, which changes times by a
    percent or two where nothing else differs; so it may between two implementations.
    """
    by_key = {(r.implementation, getattr(r, "allocating", None), *cell_of(r)): r for r in records}
    found: Ranges = {}
    for (name, *rest), control in by_key.items():
        original = by_key.get((str(name).removesuffix(CONTROL_SUFFIX), *rest))
        if getattr(control, "role", None) != "control" or original is None:
            continue
        a, b = samples_of(original), samples_of(control)
        if len(a) != len(b) or len(a) < LEAST or not all(s > 0 for s in (*a, *b)):
            continue
        _widen(found, cell_of(control), paired_ratio(b, a).median)
    return found
