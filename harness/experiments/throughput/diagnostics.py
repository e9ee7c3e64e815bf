"""The numbers of a timed group: times, ratios, share of the limit, and what is doubtful.

A group is the entrants of one point of the grid, each paired with the baseline of the group, on the
host or on a device.
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
    end,
    living,
)
from harness.experiments.throughput.gate import refused
from harness.experiments.throughput.pairs import SHARE, processes_of
from harness.numerics.statistics import summarise_samples
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
    unsure = doubt(group) if processes_of(grid) == 1 else 0.0
    its, control = living(group, baseline), control_among(group)
    for entrant in group:
        if entrant.fault is None:
            try:
                found = {} if entrant.implementation is None else judged(entrant)
                entrant.update(status="ok", reason=None)
                entrant.update(**figures(entrant, its, control, grid, unsure), **found)
                also(entrant)
            except WorkerFault as fault:
                end([entrant], fault)
        if entrant.fault is not None:
            entrant.update(status=entrant.fault.status, reason=entrant.fault.reason)


def doubt(group: Iterable[AnyEntrant]) -> float:
    """By how much two processes of the same code differ, as a logarithm; 0 without a control.

    The same code in another process is a percent or two faster or slower for its place in memory.
    So may the process of any entrant be: no number of pairs in it shows that.
    """
    control = control_among(group)
    ratio = None if control is None else control.ratio
    return 0.0 if ratio is None else abs(math.log(ratio.median))


def control_among(group: Iterable[E]) -> E | None:
    """The second process of the baseline, if it was timed beside the first."""
    controls = (e for e in group if e.record.role == "control" and e.fault is None)
    return next((e for e in controls if e.beside), None)


def figures(
    entrant: E, baseline: E | None, control: E | None, grid: Any, unsure: float
) -> dict[str, Any]:
    """Times, bandwidth, and the ratio to the baseline, with their intervals.

    The baseline has as many samples as all others together: it shows those beside its control's.

    Args:
        unsure: by how much the interval of the ratio is widened (`doubt`).
    """
    record = entrant.record
    mine = entrant is baseline
    paired = control if mine and control is not None else entrant
    count = len(paired.beside)
    samples = entrant.samples[:count] if count else entrant.samples
    if mine and control is not None:
        samples = control.beside
    processes = record.processes or 1
    if len(samples) % processes:
        processes = 1
    summary = summarise_samples(samples, processes=processes)
    moved = float(record.moved_bytes or 2 * (record.array_bytes or 0))
    best = min(entrant.samples)
    found = {
        "samples_ns": [_rounded(s) for s in samples],
        "best_ns": best,
        "median_ns": summary.median,
        "ci_low_ns": summary.ci_low,
        "ci_high_ns": summary.ci_high,
        "gbps": moved / best,
        "gbps_low": moved / max(best, summary.best_high),
        "gbps_high": moved / best,
        "looks": paired.looks or None,
        "pair_seconds": paired.seconds,
        "precision": grid.precision,
        **entrant.costs(),
    }
    ratio = entrant.ratio
    if mine and baseline is not None:
        name = baseline.record.implementation
        found |= {"baseline": name, "speedup": 1.0, "speedup_low": 1.0, "speedup_high": 1.0}
    elif ratio is not None and baseline is not None:
        found |= {
            "baseline": baseline.record.implementation,
            "baseline_ns": [_rounded(s) for s in entrant.beside],
            "speedup": 1.0 / ratio.median,
            "speedup_low": math.exp(-unsure) / ratio.ci_high,
            "speedup_high": _over(math.exp(unsure), ratio.ci_low),
        }
    return found


def _rounded(ns: float) -> float:
    """To six digits: no clock is better, and files stay small."""
    return float(f"{ns:.6g}")


def _over(a: float, b: float) -> float:
    return a / b if b > 0.0 else math.inf


def undecided(
    group: Sequence[E], baseline: str | None, grid: Any, causes: Sequence[str] = ()
) -> None:
    """Mark the ratios that are not known to the precision wanted, with cause and next action.

    The baseline stands for its control: what that does not tell, no ratio of the group does.

    Args:
        causes: what else happened on the machine, as sentences with what to do.
    """
    unsure = doubt(group) if processes_of(grid) == 1 else 0.0
    its = living(group, baseline)
    control = control_among(group)
    for entrant in group:
        judged = control if entrant is its else entrant
        if judged is None or entrant.fault is not None or judged.fault is not None:
            continue
        if (ratio := judged.ratio) is None:
            continue
        half = ratio.half_width
        why = None
        if half + unsure > math.log1p(grid.precision):
            why = _why(judged, half, unsure, grid.precision, causes)
        entrant.update(noisy=why is not None, undecided=why)


def _why(
    entrant: AnyEntrant, half: float, unsure: float, precision: float, causes: Sequence[str]
) -> str:
    pairs, seconds = len(entrant.beside), entrant.seconds
    known = f"after {pairs} pairs in {seconds:.2g} s"
    if not math.isinf(half):
        known = f"known to ±{100.0 * math.expm1(half + unsure):.2g}% {known}"
    most = math.log1p(precision)
    target = min(SHARE * most, most - unsure)  # of the interval of the pairs themselves
    if target <= 0.0 or unsure > max(SHARE * most, half):
        cause = (
            f"two processes with the same code differ by {100.0 * math.expm1(unsure):.2g}%; "
            "--processes 8 measures over several"
        )
    elif causes:
        cause = causes[0]
    else:
        more = seconds * ((half / target) ** 2 - 1.0) if math.isfinite(half) else math.inf
        cause = (
            f"±{100.0 * precision:g}% needs about {more:.2g} s more (--seconds)"
            if more < 600.0
            else "the machine is too restless; run again at a quieter time"
        )
    return f"{known}: {cause}"


def best_of(limits: Iterable[E]) -> E | None:
    """The limit with the highest bandwidth, of those that have one."""
    known = [e for e in limits if e.record.gbps is not None]
    return max(known, key=lambda e: e.record.gbps or 0.0) if known else None


def set_against(
    best: Entrant[R, G], group: Iterable[Entrant[R, G]], impossible: Callable[[R, R], str | None]
) -> None:
    """Set each bandwidth against the best limit, by the ratios of both to the baseline.

    What no machine can do is rejected. Without ratios the least times are set against each other.

    Args:
        impossible: why no machine is as fast as a record says, by that of the limit; or None.
    """
    for entrant in group:
        record, limit = entrant.record, best.record
        if record.gbps is None or limit.gbps is None:
            continue
        share = record.gbps / limit.gbps
        if record.speedup is not None and limit.speedup is not None:
            moved = [float(r.moved_bytes or 2 * (r.array_bytes or 0)) for r in (record, limit)]
            share = moved[0] / moved[1] * record.speedup / limit.speedup
        changes: dict[str, Any] = {
            "limit": limit.implementation,
            "percent_of_limit": 100.0 * share,
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
