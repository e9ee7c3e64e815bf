"""The numbers of a timed group: medians, ratios, noise, share of the limit, and what is doubtful.

A group is the entrants of one point of the grid, which were sampled in the same rounds, on the host
or on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from harness.experiments.throughput.gate import refused
from harness.experiments.throughput.rounds import (
    AnyEntrant,
    E,
    Entrant,
    G,
    HostEntrant,
    R,
    end,
)
from harness.numerics.statistics import control_verdict, paired_ratio, summarise_samples
from harness.records.timing import CONTROL_SUFFIX
from harness.worker.client import WorkerFault
from harness.worker.timing import thread_pools


def conclude(
    entrants: Sequence[E],
    baseline: str | None,
    judged: Callable[[E], dict[str, Any]],
    also: Callable[[E], None] = lambda _: None,
) -> None:
    """Fill in the records: the numbers of what was timed, the reasons of what failed.

    Args:
        judged: changes to the record of an implementation, by whether what was timed is right.
        also: measures more of what was timed, whose numbers stand where that fails.
    """
    noisy = noise(entrants)
    for entrant in entrants:
        if entrant.fault is None:
            try:
                found = {} if entrant.implementation is None else judged(entrant)
                entrant.update(status="ok", reason=None, noisy=noisy)
                entrant.update(**figures(entrant, entrants, baseline), **found)
                also(entrant)
            except WorkerFault as fault:
                end([entrant], fault)
        if entrant.fault is not None:
            entrant.update(status=entrant.fault.status, reason=entrant.fault.reason)


def figures(
    entrant: AnyEntrant, entrants: Sequence[AnyEntrant], baseline: str | None
) -> dict[str, Any]:
    """Median and interval of time and bandwidth; the ratio to the baseline, of a control to its
    original, where that has samples as well."""
    record, samples = entrant.record, entrant.samples
    summary = summarise_samples(samples, processes=_processes(entrant))
    moved = float(record.moved_bytes or 2 * (record.array_bytes or 0))
    found = {
        "samples_ns": samples,
        "median_ns": summary.median,
        "ci_low_ns": summary.ci_low,
        "ci_high_ns": summary.ci_high,
        "gbps": moved / summary.median,
        "gbps_low": moved / summary.ci_high,
        "gbps_high": moved / summary.ci_low,
        **entrant.costs(),
    }
    other = _named(_original(entrant) or baseline, [e for e in entrants if e.samples])
    if other is not None and len(other.samples) == len(samples):
        ratio = paired_ratio(other.samples, samples, processes=_processes(entrant, other))
        found |= {
            "baseline": other.record.implementation,
            "speedup": ratio.median,
            "speedup_low": ratio.ci_low,
            "speedup_high": ratio.ci_high,
        }
    return found


def _original(entrant: AnyEntrant) -> str | None:
    """The name of what a control is timed against; None of anything else."""
    record = entrant.record
    return record.implementation.removesuffix(CONTROL_SUFFIX) if record.role == "control" else None


def _named(name: str | None, entrants: Iterable[E]) -> E | None:
    return next((e for e in entrants if e.record.implementation == name), None)


def _processes(*both: AnyEntrant) -> int:
    """How many processes of each took the samples; one where they differ in that."""
    counts = {e.record.processes or 1 for e in both}
    return counts.pop() if len(counts) == 1 else 1


def noise(entrants: Sequence[AnyEntrant]) -> bool | None:
    """Whether the machine was in the way; None where no control was measured.

    A control's ratio to its original misses 1.0, or the copies lost a processor to other programs
    in most of their samples: where threads wait for each other, that slows all alike, by whole
    time slices of the scheduler, and no ratio shows it.
    """
    quiet = [
        2 * sum(p > 0 for p in e.preempted) <= len(e.preempted)
        for e in entrants
        if e.record.operation == "copy" and e.preempted
    ]
    for control in entrants:
        original = _named(_original(control), entrants)
        if original and control.samples and len(original.samples) == len(control.samples):
            count = _processes(control, original)
            ratio = paired_ratio(control.samples, original.samples, processes=count)
            quiet.append(control_verdict(ratio).holds)
    return not all(quiet) if quiet else None


def best_of(limits: Iterable[E]) -> E | None:
    """The limit with the highest bandwidth, of those that have one."""
    known = [e for e in limits if e.record.gbps is not None]
    return max(known, key=lambda e: e.record.gbps or 0.0) if known else None


def set_against(
    best: Entrant[R, G], entrants: Iterable[Entrant[R, G]], impossible: Callable[[R, R], str | None]
) -> None:
    """Set each bandwidth against the best limit of the same rounds; reject what cannot be.

    Args:
        impossible: why no machine is as fast as a record says, by that of the limit; or None.
    """
    for entrant in entrants:
        record, limit = entrant.record, best.record
        if record.gbps is None or limit.gbps is None:
            continue
        changes: dict[str, Any] = {
            "limit": limit.implementation,
            "percent_of_limit": 100.0 * record.gbps / limit.gbps,
        }
        if record.role != "limit":
            reason = impossible(record, limit)
            changes["implausible"] = reason is not None
            if reason is not None:
                changes |= refused(f"implausible: {reason}")
        entrant.update(**changes)


_PAGE_BYTES = 4096
_FAULTING = 0.25
_MORE_PROCESSORS = 1.5


def doubts(entrant: HostEntrant, cores: int) -> list[str]:
    """What is doubtful about one timing: each with its cause and the next action.

    Args:
        cores: usable processors.
    """
    record = entrant.record
    found = []
    asked = record.threads or cores
    if record.threads_found is not None:
        wrong = thread_pools.mismatch(record.threads_found, asked, cores)
        found += [] if wrong is None else [wrong]
    if entrant.processors:
        used = float(np.median(entrant.processors))
        if used > _MORE_PROCESSORS * asked:
            found.append(
                f"used {used:.2g} processors though asked for {asked} thread{'s' * (asked != 1)}: "
                "it has threads that no library tells of; make it take their number from OpenMP, "
                "Numba or torch"
            )
    if record.warm_up_settled is False:
        found.append(
            f"calls were still getting faster when the warm-up reached its cap "
            f"({(record.warm_up_ns or 0.0) / 1e6:.0f} ms, {record.warm_up_calls} calls): the first "
            "samples may be slow; raise the cap"
        )
    pages = (record.array_bytes or 0) / _PAGE_BYTES
    if record.allocating is False and entrant.faults and pages >= 16:
        faults = float(np.median(entrant.faults))
        if faults > _FAULTING * pages:
            found.append(
                f"{faults:.0f} page faults a call though its output is in memory: it allocates "
                f"arrays of its own ({pages:.0f} pages are one array); reuse them"
            )
    return found
