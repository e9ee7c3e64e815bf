"""The numbers of a timed group: times, ratios, share of the limit, and what is doubtful.

A group is the entrants of one point of the grid, visited in the same rounds, on the host or on a
device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from harness.experiments.throughput.entrants import (
    AnyEntrant,
    E,
    Entrant,
    G,
    HostEntrant,
    R,
    control_among,
    doubt,
    end,
    living,
)
from harness.experiments.throughput.gate import refused
from harness.numerics.statistics import Ratio, least, over
from harness.records.timing import TimingRecord
from harness.worker.client import WorkerFault
from harness.worker.timing import thread_pools


def conclude(
    group: Sequence[E],
    baseline: str | None,
    grid: Any,
    judged: Callable[[E], dict[str, Any]],
    also: Callable[[E], None] = lambda _: None,
) -> None:
    """Fill in the records: the numbers of what was timed, the reasons of what failed.

    Args:
        grid: of the group, with the precision that is wanted.
        judged: changes to the record of an implementation, by whether what was timed is right.
        also: measures more of what was timed, whose numbers stand where that fails.
    """
    its = living(group, baseline)
    unsure = doubt(group, its)
    for entrant in group:
        if entrant.fault is None:
            try:
                found = {} if entrant.implementation is None else judged(entrant)
                entrant.update(status="ok", reason=None)
                entrant.update(**figures(entrant, its, grid, unsure), **found)
                also(entrant)
            except WorkerFault as fault:
                end([entrant], fault)
        if entrant.fault is not None:
            entrant.update(status=entrant.fault.status, reason=entrant.fault.reason)


def figures(entrant: E, baseline: E | None, grid: Any, unsure: float) -> dict[str, Any]:
    """Times, bandwidth, and the ratio to the baseline, with their intervals.

    Args:
        unsure: by how much the interval of the ratio is widened (`doubt`).
    """
    record = entrant.record
    best = least(entrant.visits.ns)
    moved = bytes_moved(record)
    found = {
        "samples_ns": [float(f"{s:.6g}") for s in entrant.samples],  # no clock tells more digits
        "visits": entrant.visited,
        "visits_at": [round(t, 3) for t in entrant.at],
        "visits_s": entrant.seconds,
        "best_ns": best.ns,
        "best_low_ns": best.low,
        "median_ns": float(np.median(entrant.samples)),
        "gbps": over(moved, best.ns),
        "gbps_low": over(moved, best.ns),
        "gbps_high": over(moved, best.low),
        "precision": grid.precision,
        **entrant.costs(),
    }
    if baseline is not None:
        mine = entrant is baseline
        speedup = Ratio(1.0, 1.0, 1.0) if mine else entrant.ratio_to(baseline).inverse()
        found |= {
            "baseline": baseline.record.implementation,
            "speedup": speedup.value,
            "speedup_low": speedup.low * math.exp(0.0 if mine else -unsure),
            "speedup_high": speedup.high * math.exp(0.0 if mine else unsure),
        }
    return found


def undecided(
    group: Sequence[E], baseline: str | None, grid: Any, causes: Sequence[str] = ()
) -> None:
    """Mark the ratios that are not known to the precision wanted, with cause and next action.

    The baseline stands for its control: what that does not tell, no ratio of the group does.

    Args:
        causes: what else happened on the machine, as sentences with what to do.
    """
    its, control = living(group, baseline), control_among(group)
    unsure = doubt(group, its)
    for entrant in group:
        judged = control if entrant is its else entrant
        if its is None or judged is None or judged is its or entrant.fault is not None:
            continue
        half = judged.ratio_to(its).half_width
        why = None
        never = next((e for e in (judged, its) if e.visited == e.anyway), None)
        if never is not None:  # visits agree then because something slows them all
            why = _busy(never)
        elif half + unsure > math.log1p(grid.precision):
            why = _why(judged, half, unsure, grid.precision, causes)
        entrant.update(noisy=why is not None, undecided=why)


def _busy(entrant: AnyEntrant) -> str:
    return (
        f"none of {entrant.tries} visits to {entrant.record.implementation} found the processors "
        "without other work, of this machine or of its neighbours: run again at a quieter time"
    )


def _why(
    entrant: AnyEntrant, half: float, unsure: float, precision: float, causes: Sequence[str]
) -> str:
    known = f"after {entrant.visited} visits in {entrant.seconds:.2g} s"
    either_way = math.exp(min(half + unsure, 700.0))
    if either_way < 2.0:
        known = f"known to ±{100.0 * (either_way - 1.0):.2g}% {known}"
    elif either_way < 100.0:
        known = f"known to a factor of {either_way:.2g} {known}"
    target = math.log1p(precision) - unsure  # of the interval of the visits themselves
    if target <= 0.0 or unsure > max(target, half):
        cause = (
            f"two processes with the same code differ by {100.0 * math.expm1(unsure):.2g}%; "
            "--processes 8 measures over several"
        )
    elif causes:
        cause = causes[0]
    else:
        more = entrant.seconds * ((half / target) ** 2 - 1.0) if half < 700.0 else math.inf
        cause = (
            f"±{100.0 * precision:g}% needs about {more:.2g} s more (--seconds)"
            if more < 600.0
            else "the machine is too restless; run again at a quieter time"
        )
    return f"{known}: {cause}"


def bytes_moved(record: TimingRecord) -> float:
    """By a call: what it has to move, or one read and one write of the input's size."""
    return float(record.moved_bytes or 2 * (record.array_bytes or 0))


def best_of(limits: Iterable[E]) -> E | None:
    """The limit with the highest bandwidth, of those that have one."""
    known = [e for e in limits if e.record.gbps is not None]
    return max(known, key=lambda e: e.record.gbps or 0.0) if known else None


def set_against(
    best: Entrant[R, G],
    group: Sequence[Entrant[R, G]],
    impossible: Callable[[R, R, float], bool],
) -> None:
    """Set each bandwidth against the best limit; what no machine can do is rejected.

    A share above 1 that may be no more than 1 is 1.

    Args:
        impossible: whether no machine is as fast as a record says, by the limit's record and the
            least that its share of the limit may be.
    """
    unsure = doubt(group, living(group, best.record.baseline))
    limit = best.record
    for entrant in group:
        record = entrant.record
        if record.gbps is None or limit.gbps is None:
            continue
        share = record.gbps / limit.gbps
        by = bytes_moved(record) / bytes_moved(limit)
        least = by * entrant.ratio_to(best).inverse().widened(unsure).low
        rejected = record.role != "limit" and impossible(record, limit, least)
        share = share if rejected or least > 1.0 else min(1.0, share)
        entrant.update(limit=limit.implementation, percent_of_limit=100.0 * share)
        if record.role != "limit":
            entrant.update(implausible=rejected)
        if entrant.record.implausible:
            entrant.update(**refused(
                f"implausible: {record.gbps:.4g} GB/s is {share:.3g} times the limit beside it, "
                f"{limit.implementation} at {limit.gbps:.4g} GB/s, for data beyond the cache"
            ))  # fmt: skip


_PAGE_BYTES = 4096
_FAULTING = 0.25
"""Page faults a call, for each page of an array: a new array has one for each, memory that is used
again has none. In between lie calls of which only some allocate."""
_MORE_PROCESSORS = 1.5
"""Times the threads asked for: half-way between one thread and two, where one was asked for."""


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
