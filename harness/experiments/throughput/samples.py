"""Statistics of the samples of a group: medians, ratios to the baseline, controls, limits.

A group is the entrants of one point of the grid, which were sampled in the same rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from harness.numerics.statistics import control_verdict, paired_ratio, summarise_samples
from harness.records.timing import CONTROL_SUFFIX, TimingRecord


class Sampled(Protocol):
    """What is needed of an entrant."""

    samples: list[float]

    @property
    def record(self) -> TimingRecord: ...


S = TypeVar("S", bound=Sampled)


def medians(entrant: Sampled, moved_bytes: float) -> dict[str, Any]:
    """Median and interval of the time, and of the bandwidth at which so many bytes are moved."""
    samples = entrant.samples
    summary = summarise_samples(samples, processes=processes(entrant))
    return {
        "samples_ns": samples,
        "median_ns": summary.median,
        "ci_low_ns": summary.ci_low,
        "ci_high_ns": summary.ci_high,
        "gbps": moved_bytes / summary.median,
        "gbps_low": moved_bytes / summary.ci_high,
        "gbps_high": moved_bytes / summary.ci_low,
    }


def ratio_to(entrant: Sampled, entrants: Iterable[Sampled], baseline: str | None) -> dict[str, Any]:
    """The ratio to the baseline, of a control to its original; nothing where one has no samples."""
    if entrant.record.role == "control":
        baseline = entrant.record.implementation.removesuffix(CONTROL_SUFFIX)
    other = next((e for e in entrants if e.record.implementation == baseline and e.samples), None)
    if other is None or len(other.samples) != len(entrant.samples):
        return {}
    ratio = paired_ratio(other.samples, entrant.samples, processes=processes(entrant, other))
    return {
        "baseline": other.record.implementation,
        "speedup": ratio.median,
        "speedup_low": ratio.ci_low,
        "speedup_high": ratio.ci_high,
    }


def processes(*both: Sampled) -> int:
    """How many processes of each took the samples; one where they differ in that."""
    counts = {e.record.processes or 1 for e in both}
    return counts.pop() if len(counts) == 1 else 1


def controls_hold(entrants: Sequence[Sampled]) -> list[bool]:
    """For each control that was measured: does the interval of its ratio hold 1.0?"""
    found = []
    for control in (e for e in entrants if e.record.role == "control" and e.samples):
        name = control.record.implementation.removesuffix(CONTROL_SUFFIX)
        original = next((e for e in entrants if e.record.implementation == name), None)
        if original is not None and len(original.samples) == len(control.samples):
            count = processes(control, original)
            ratio = paired_ratio(control.samples, original.samples, processes=count)
            found.append(control_verdict(ratio).holds)
    return found


def best_of(limits: Iterable[S]) -> S | None:
    """The limit with the highest bandwidth, of those that have one."""
    known = [e for e in limits if e.record.gbps is not None]
    return max(known, key=lambda e: e.record.gbps or 0.0) if known else None


def refused(reason: str) -> dict[str, Any]:
    """Changes to the record of a time that is kept, shown struck out and never ranked."""
    return {"status": "failed", "ranked": False, "reason": reason}
