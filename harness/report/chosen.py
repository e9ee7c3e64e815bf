"""The few implementations that figures show in colour from the beginning; the others are grey."""

from __future__ import annotations

from functools import lru_cache

from harness.records import AccuracyRecord, ThroughputRecord
from harness.report.run_data import RunData, known, measured
from harness.report.timing_selection import headline_record, struck

FEW = 4
FAMILIAR = "torch"
"""What most readers use now."""


def shared_errors(run: RunData, dtype: str) -> tuple[dict[str, float], int]:
    """The largest error of each implementation over the cells that all have, and their number.

    Empty where fewer than two were measured, or they have no cell in common.
    """
    places: dict[str, dict[tuple[object, ...], float]] = {}
    for c in measured(run.select(AccuracyRecord, dtype=dtype, operation="softmax")):
        if c.max_ulp is not None:
            place = (c.workload, c.classes, c.rows, c.seed)
            places.setdefault(c.implementation, {})[place] = c.max_ulp
    ordered = {n: places[n] for n in run.implementations if n in places}
    common = set.intersection(*map(set, ordered.values())) if len(ordered) > 1 else set()
    if not common:
        return {}, 0
    return {n: max(at[k] for k in common) for n, at in ordered.items()}, len(common)


def ranked(run: RunData) -> dict[str, ThroughputRecord]:
    """The timings at the headline point that the accuracy gate let pass, the fastest first."""
    found = {
        n: c
        for n in run.implementations
        if (c := headline_record(run, n)[0]) is not None and c.gbps is not None and not struck(c)
    }
    return dict(sorted(found.items(), key=lambda item: -known(item[1].gbps)))


def fastest_first(run: RunData) -> list[str]:
    """All implementations: those ranked by their speed, then the others in the run's order."""
    return list(dict.fromkeys([*ranked(run), *run.implementations]))


@lru_cache(maxsize=1)
def chosen(run: RunData) -> frozenset[str]:
    """The fastest, the most accurate, the baseline and a familiar one; all where they are few."""
    available = [n for n in run.implementations if (a := run.about(n)) is None or a.available]
    if len(available) <= FEW:
        return frozenset(available)
    fastest = list(ranked(run))[:1]
    errors, _ = shared_errors(run, "float32")
    accurate = [min(errors, key=lambda n: errors[n])] if errors else []
    baseline = [c.baseline for c in run.select(ThroughputRecord) if c.baseline][:1]
    return frozenset({*fastest, *accurate, *baseline, FAMILIAR} & set(available))
