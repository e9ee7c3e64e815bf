"""Speed across class counts: interleaved rounds of every implementation, a control and the limits.

One unit is one point of the grid: all implementations are prepared on the same input, then each
round takes one sample of each in a seeded random order, with the copy of the same bytes (the
limits) among them, and the baseline and a copy a second time under other names (the controls).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.discovery import Implementation
from harness.experiments.context import Context, Unit, rows_for, worker_for
from harness.experiments.evidence import CONTROL_SUFFIX, figures, noise, set_against_limit
from harness.experiments.judge import bound_of
from harness.experiments.rounds import Entrant, place, take_rounds
from harness.floats import float_format
from harness.profiles import Timing
from harness.records import Record, Regime, ThroughputRecord
from harness.reference import softmax_exact
from harness.remote import RemoteImplementation, WorkerFault
from harness.ulps import ulp_error

WORKLOAD = "normal(scale=1)"
LIMITS = ("copy_regular", "copy_nontemporal")
REGIMES: tuple[Regime, ...] = ("latency", "cached", "streaming")
_GATE_ELEMENTS = 1 << 16


def describe_fit(array_bytes: int, l2: int | None, last_level: int | None) -> str:
    """How an input and an output of `array_bytes` each compare with the caches."""
    both = 2 * array_bytes
    mib = f"{both / 2**20:.3g} MiB in and out"
    if last_level is None:
        return f"{mib}; cache sizes unknown"
    if l2 is not None and both <= l2:
        return f"{mib}; fits in one core's L2 ({l2 / 2**20:.3g} MiB)"
    relation = f"{both / last_level:.3g} times the last-level cache ({last_level / 2**20:.3g} MiB)"
    return f"{mib}; {relation}"


def baseline_of(context: Context) -> str | None:
    """The implementation that speeds are ratios to: the chosen one, else the first that runs."""
    available = [i.name for i in context.implementations if context.unavailable(i) is None]
    if context.baseline in available:
        return context.baseline
    return available[0] if available else None


def _allocations(implementation: Implementation, grid: Timing, classes: int) -> tuple[bool, ...]:
    """Whether to measure the call that allocates, the one with ``out=``, or both."""
    if "softmax" not in implementation.metadata.operations_with_out:
        return (True,)
    return (False, True) if classes in grid.allocating_classes else (False,)


def _coordinates(
    context: Context, regime: Regime, dtype: str, classes: int, threads: str
) -> tuple[ThroughputRecord, ...]:
    grid = context.profile.timing[regime]
    rows = 1 if grid.elements == 0 else rows_for(grid.elements, classes)
    array_bytes = rows * classes * float_format(dtype).dtype.itemsize
    common: dict[str, Any] = {
        "dtype": dtype,
        "threads": 1 if threads == "one" else context.cores,
        "workload": WORKLOAD,
        "classes": classes,
        "rows": rows,
        "seed": context.seed,
        "regime": regime,
        "array_bytes": array_bytes,
        "fits": describe_fit(array_bytes, context.l2_cache, context.last_level_cache),
        "status": "skipped",
    }
    found = []
    for implementation in context.implementations:
        for allocating in _allocations(implementation, grid, classes):
            found.append(
                ThroughputRecord(
                    implementation=implementation.name,
                    device=implementation.metadata.device,
                    allocating=allocating,
                    **common,
                )
            )
    baseline = baseline_of(context)
    if baseline is not None:
        original = next(r for r in found if r.implementation == baseline)
        found.append(
            original.model_copy(
                update={"implementation": baseline + CONTROL_SUFFIX, "role": "control"}
            )
        )
    controlled = LIMITS[0] + CONTROL_SUFFIX  # as many threads as any; the baseline may have one
    for name in (*LIMITS, controlled):
        found.append(
            ThroughputRecord(
                implementation=name,
                operation="copy",
                role="control" if name == controlled else "limit",
                device="cpu",
                allocating=False,
                **common,
            )
        )
    return tuple(found)


def _refuse_unsupported_limit(name: str) -> None:
    from harness.limits import nontemporal_supported  # numba, which planning does without

    supported, reason = nontemporal_supported()
    if name == "copy_nontemporal" and not supported:
        raise WorkerFault("unsupported", reason)


def _entrant(context: Context, record: ThroughputRecord) -> Entrant:
    """The worker of a record's implementation, control or limit; workers live for the run."""
    name = record.implementation
    original = name.removesuffix(CONTROL_SUFFIX)
    if original in LIMITS:
        _refuse_unsupported_limit(original)
        if name not in context.pool:
            context.pool.add(RemoteImplementation(name, {"module": "harness.limits"}))
        return Entrant(record, context.pool[name], original, {})
    implementation = next(i for i in context.implementations if i.name == original)
    refusal = context.refusal(implementation, record.operation, str(record.dtype))
    if refusal is not None:
        raise WorkerFault(*refusal)
    if name not in context.pool:
        context.pool.add(worker_for(implementation, name))
    return Entrant(record, context.pool[name], record.operation, {"axis": -1}, implementation)


def _gate(context: Context, entrant: Entrant, x: NDArray[Any]) -> dict[str, Any]:
    """Is what was timed right? Rows of the last timed output against the reference."""
    implementation = entrant.implementation
    assert implementation is not None
    count = min(len(x), max(1, _GATE_ELEMENTS // x.shape[1]))
    rows = np.unique(np.linspace(0, len(x) - 1, count).astype(np.int64))
    reply, outputs = entrant.worker.request(
        "output_rows", {"handle": entrant.handle, "rows": rows.tolist()}
    )
    sampled = x[rows]
    expected, got = (list(x.shape), x.dtype.name), (reply["shape"], reply["dtype"])
    if got != expected:
        reason = f"timed output: expected {expected[0]} {expected[1]}; got {got[0]} {got[1]}"
        return {"status": "failed", "reason": reason, "ranked": False}
    y = outputs[0]
    exact = softmax_exact(sampled)
    error = ulp_error(y, exact)
    bound = bound_of(context, implementation, sampled, exact, str(entrant.record.dtype))
    ratio = float(np.max(bound.ratio(error)))
    changes: dict[str, Any] = {
        "gate_ulp": float(error.max()),
        "gate_error_over_bound": ratio,
        "ranked": ratio <= 1.0,
        "status": "ok",
        "reason": None,
    }
    if ratio > 1.0:
        changes["status"] = "failed"
        changes["reason"] = (
            f"accuracy gate: error {ratio:.3g} times the bound {bound.name!r} on this workload; "
            f"the time is shown struck out and never ranked"
        )
    return changes


def _measure(
    context: Context, regime: Regime, dtype: str, classes: int, threads: str
) -> Iterator[Record]:
    started = time.perf_counter()
    grid = context.profile.timing[regime]
    timeout = context.profile.timeout_s
    records = _coordinates(context, regime, dtype, classes, threads)
    rows = records[0].rows
    assert rows is not None
    entrants: list[Entrant] = []
    for record in records:
        try:
            entrants.append(_entrant(context, record))
        except WorkerFault as fault:
            yield record.ended(fault.status, fault.reason)
    x = workloads.generate(WORKLOAD, classes, rows, dtype, context.seed)
    place(entrants, x, timeout)
    take_rounds(entrants, grid, timeout, f"{context.seed} {regime} {dtype} {classes} {threads}")
    baseline = baseline_of(context)
    noisy = noise(entrants)
    for entrant in entrants:
        if entrant.fault is None:
            try:
                gate = {} if entrant.implementation is None else _gate(context, entrant, x)
                entrant.update(status="ok")
                entrant.update(**figures(entrant, entrants, baseline, noisy), **gate)
            except WorkerFault as fault:
                entrant.fault = fault
        if entrant.fault is not None:
            entrant.update(status=entrant.fault.status, reason=entrant.fault.reason)
    for worker in {e.worker for e in entrants if e.fault is None}:
        worker.request("release")
    set_against_limit(entrants, context.last_level_cache)
    elapsed = (time.perf_counter() - started) / len(records)
    for entrant in entrants:
        entrant.update(elapsed_s=elapsed)
        yield entrant.record


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each regime, format, class count and number of threads."""
    if "softmax" not in context.profile.operations or baseline_of(context) is None:
        return
    for regime in REGIMES:
        grid = context.profile.timing.get(regime)
        if grid is None:
            continue
        for dtype in grid.dtypes:
            for threads in grid.threads:
                for classes in grid.classes:
                    yield Unit(
                        "throughput",
                        f"{regime} {dtype} {classes} classes, threads {threads}",
                        _coordinates(context, regime, dtype, classes, threads),
                        partial(_measure, context, regime, dtype, classes, threads),
                        0.3 + grid.rounds * grid.elements * 1.2e-7,
                    )
