"""Speed across class counts: interleaved rounds of every implementation, a control and the limits.

One unit is one point of the grid: all implementations are prepared on the same input, then each
round takes one sample of each in a seeded random order, with the copy of the same bytes (the
limits) among them, and the baseline and a copy a second time under other names (the controls).
Before one of the rounds, which nobody can foretell, each is put to the test (`honesty`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

from numpy.typing import NDArray

from harness import workloads
from harness.discovery import Implementation
from harness.experiments.conditions import Reading, conditions, drift_of, read, warnings_of
from harness.experiments.context import Context, Unit, rows_for
from harness.experiments.evidence import doubts, figures, noise, set_against_limit
from harness.experiments.honesty import Scrutiny, between, sampled_rows
from harness.experiments.judge import accuracy_gate
from harness.experiments.peak import peak_memory
from harness.experiments.rounds import Entrant, aligned, place, take_rounds
from harness.floats import float_format
from harness.profiles import Timing
from harness.records import Record, Regime, ThroughputRecord
from harness.records.throughput import CacheState, Conditions
from harness.records.timing import CONTROL_SUFFIX
from harness.remote import WorkerFault

WORKLOAD = "normal(scale=1)"
LIMITS = ("copy_regular", "copy_nontemporal")
ARITHMETIC = "exp_only"
"""The other limit, of float32 in cache, where memory is none: `harness.exponentials`."""
REGIMES: tuple[Regime, ...] = ("latency", "cached", "streaming")


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


def on_cpu(context: Context) -> list[Implementation]:
    """The implementations of this experiment; those on a device are of `device_throughput`."""
    return [i for i in context.implementations if i.metadata.device == "cpu"]


def baseline_of(context: Context) -> str | None:
    """The implementation that speeds are ratios to: the chosen one, else the first that runs."""
    available = [i.name for i in on_cpu(context) if context.unavailable(i) is None]
    if context.baseline in available:
        return context.baseline
    return available[0] if available else None


def _allocations(implementation: Implementation, grid: Timing, classes: int) -> tuple[bool, ...]:
    """Whether to measure the call that allocates, the one with ``out=``, or both."""
    if "softmax" not in implementation.metadata.operations_with_out:
        return (True,)
    return (False, True) if classes in grid.allocating_classes else (False,)


def _coordinates(
    context: Context, regime: Regime, dtype: str, classes: int, threads: str, cache: CacheState
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
        "cache": cache,
        "fits": describe_fit(array_bytes, context.l2_cache, context.last_level_cache),
        "status": "skipped",
    }
    found = []
    for implementation in on_cpu(context):
        allocations = _allocations(implementation, grid, classes)
        for allocating in allocations[:1] if cache == "cold" else allocations:
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
    if regime == "cached" and cache == "warm" and dtype == "float32" and array_bytes >= 64:
        found.append(
            ThroughputRecord(
                implementation=ARITHMETIC,
                operation="exp",
                role="limit",
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
        return Entrant(record, context.mover(name, {"module": "harness.limits"}), original, {})
    if name == ARITHMETIC:
        return Entrant(record, context.mover(name, {"module": "harness.exponentials"}), name, {})
    implementation = context.named(name)
    context.demand(implementation, record.operation, str(record.dtype))
    worker = context.worker(name, implementation)
    return Entrant(record, worker, record.operation, {"axis": -1}, implementation)


def _judge(context: Context, entrant: Entrant, x: NDArray[Any], y: NDArray[Any]) -> dict[str, Any]:
    """Is what was timed right? Rows of output against the reference of the same rows of input."""
    implementation = entrant.implementation
    assert implementation is not None
    return accuracy_gate(context, implementation, x, y)


def _gate(context: Context, entrant: Entrant) -> dict[str, Any]:
    """Rows of the last timed output against the reference of what was the input then."""
    x = entrant.sampled
    assert x is not None
    rows = sampled_rows(x)
    reply, outputs = entrant.worker.request(
        "output_rows", {"handle": entrant.handle, "rows": rows.tolist()}
    )
    expected, got = (list(x.shape), x.dtype.name), (reply["shape"], reply["dtype"])
    if got != expected:
        reason = f"timed output: expected {expected[0]} {expected[1]}; got {got[0]} {got[1]}"
        return {"status": "failed", "reason": reason, "ranked": False}
    return _judge(context, entrant, x[rows], outputs[0])


def _readings(context: Context) -> Reading:
    pids = [worker.pid for worker in context.pool]
    return read([os.getpid(), *(p for p in pids if p is not None)])


def _measure(
    context: Context, regime: Regime, dtype: str, classes: int, threads: str, cache: CacheState
) -> Iterator[Record]:
    started = time.perf_counter()
    grid = context.profile.timing[regime]
    timeout = context.profile.timeout_s
    records = _coordinates(context, regime, dtype, classes, threads, cache)
    rows = records[0].rows
    assert rows is not None
    entrants: list[Entrant] = []
    for record in records:
        try:
            entrants.append(_entrant(context, record))
        except WorkerFault as fault:
            yield record.ended(fault.status, fault.reason)
    x = aligned(workloads.generate(WORKLOAD, classes, rows, dtype, context.seed))
    scrutiny = Scrutiny(WORKLOAD, classes, rows, dtype, partial(_judge, context))
    place(entrants, x, timeout)
    before = _readings(context)
    seed = f"{context.seed} {regime} {dtype} {classes} {threads} {cache}"
    take_rounds(entrants, grid, timeout, seed, between(scrutiny, entrants))
    after = _readings(context)
    baseline = baseline_of(context)
    noisy = noise(entrants)
    for entrant in entrants:
        if entrant.fault is None:
            try:
                gate = {} if entrant.implementation is None else _gate(context, entrant)
                if gate.get("status") != "failed":
                    gate |= scrutiny.verdict(entrant, entrants)
                entrant.update(status="ok")
                entrant.update(**figures(entrant, entrants, baseline, noisy), **gate)
                if regime == "streaming":
                    peak_memory(entrant, timeout)
            except WorkerFault as fault:
                entrant.fault = fault
        if entrant.fault is not None:
            entrant.update(status=entrant.fault.status, reason=entrant.fault.reason)
        entrant.update(warnings=doubts(entrant, context.cores) or None)
    for worker in {e.worker for e in entrants if e.fault is None}:
        worker.request("release")
    set_against_limit(entrants, context.last_level_cache)
    _describe(entrants, conditions(before, after, drift_of(entrants)))
    elapsed = (time.perf_counter() - started) / len(records)
    for entrant in entrants:
        entrant.update(elapsed_s=elapsed)
        yield entrant.record


def _describe(entrants: list[Entrant], found: Conditions) -> None:
    """Write the conditions of a group on one of its records: a control's if there is one."""
    if entrants:
        last = max(entrants, key=lambda e: (e.record.role == "control", e.operation == "copy"))
        told = [*(last.record.warnings or []), *warnings_of(found)]
        last.update(conditions=found, warnings=told or None)


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each regime, format, class count, number of threads and state of the caches."""
    if "softmax" not in context.profile.operations or baseline_of(context) is None:
        return
    for regime in REGIMES:
        grid = context.profile.timing.get(regime)
        if grid is None:
            continue
        for dtype, threads, classes in product(grid.dtypes, grid.threads, grid.classes):
            states: tuple[CacheState, ...] = ("warm",)
            if classes in grid.cold_classes:
                states = ("warm", "cold")
            for cache in states:
                point = (regime, dtype, classes, threads, cache)
                cold = ", cold" if cache == "cold" else ""
                yield Unit(
                    "throughput",
                    f"{regime} {dtype} {classes} classes, threads {threads}{cold}",
                    _coordinates(context, *point),
                    partial(_measure, context, *point),
                    0.3 + grid.rounds * (grid.elements * 1.2e-7 + 0.2 * bool(cold)),
                )
