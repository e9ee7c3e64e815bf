"""The figures of a timed group on the host: medians, ratios, noise, share of the limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.experiments.throughput.rounds import Entrant
from harness.experiments.throughput.samples import (
    best_of,
    controls_hold,
    medians,
    ratio_to,
    refused,
)
from harness.worker.timing import thread_pools


def figures(
    entrant: Entrant, entrants: list[Entrant], baseline: str | None, noisy: bool | None
) -> dict[str, Any]:
    """Median, interval and ratio: to the baseline, and of a control to its original."""
    moved = entrant.record.moved_bytes or 2 * (entrant.record.array_bytes or 0)
    return {
        **medians(entrant, float(moved)),
        **ratio_to(entrant, entrants, baseline),
        "preemptions": entrant.preempted,
        "noisy": noisy,
        "processors_used": float(np.median(entrant.processors)),
        "page_faults": float(np.median(entrant.faults)),
    }


_PAGE_BYTES = 4096
_FAULTING = 0.25
_MORE_PROCESSORS = 1.5


def doubts(entrant: Entrant, cores: int) -> list[str]:
    """What is doubtful about one timing: each with its cause and the next action.

    Args:
        cores: usable processors.
    """
    record = entrant.record
    found = list(entrant.warnings)
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


def noise(entrants: list[Entrant]) -> bool | None:
    """Whether the machine was in the way; None where no control was measured.

    A control's ratio to its original misses 1.0, or the copies lost a processor to other programs
    in most of their samples: where threads wait for each other, that slows all alike, by whole
    time slices of the scheduler, and no ratio shows it.
    """
    verdicts = [not _crowded(e) for e in entrants if e.record.operation == "copy" and e.samples]
    verdicts += controls_hold(entrants)
    return not all(verdicts) if verdicts else None


def _crowded(entrant: Entrant) -> bool:
    return 2 * sum(p > 0 for p in entrant.preempted) > len(entrant.preempted)


def set_against_limit(entrants: list[Entrant], last_level_cache: int | None) -> None:
    """Set each time against the best copy of the same rounds; flag what no machine can do."""
    copies = (e for e in entrants if e.record.role == "limit" and e.record.operation == "copy")
    best = best_of(copies)
    if best is None:
        return
    limit = best.record.gbps
    assert limit is not None
    for entrant in entrants:
        record = entrant.record
        if record.gbps is None or record.gbps_low is None or record.regime == "latency":
            continue
        changes: dict[str, Any] = {
            "limit": best.record.implementation,
            "percent_of_limit": 100.0 * record.gbps / limit,
        }
        both = 2 * (record.array_bytes or 0)
        beyond = last_level_cache is not None and both > 2 * last_level_cache
        if record.role != "limit":
            high = best.record.gbps_high or limit
            changes["implausible"] = bool(beyond and record.gbps_low > high)
            if changes["implausible"]:
                changes |= refused(
                    f"implausible: {record.gbps:.3g} GB/s is above the copy limit "
                    f"{limit:.3g} GB/s of the same rounds for data beyond the cache"
                )
        entrant.update(**changes)
