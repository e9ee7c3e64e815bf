"""Speed across class counts: every implementation, a control and the limits beside the baseline.

One unit is one point of the grid: all implementations are prepared on the same input, then visited
in turn, round after round; so are copies of the same bytes (the limits), and a second process of
the baseline (the control). Before one of its visits, which nobody can foretell, each is put to the
test (`integrity`).
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from numpy.typing import NDArray

from harness.experiments.context import Context, Unit, rows_for
from harness.experiments.profiles import Timing
from harness.experiments.throughput.diagnostics import (
    best_of,
    conclude,
    doubts,
    set_against,
    undecided,
)
from harness.experiments.throughput.entrants import (
    HostEntrant,
    aligned,
    control_of,
    enrol,
    place,
    renew,
)
from harness.experiments.throughput.gate import operation_gate, refused
from harness.experiments.throughput.integrity import Scrutiny, verdict
from harness.experiments.throughput.interference import (
    Reading,
    conditions,
    read,
    warnings_of,
)
from harness.experiments.throughput.peak_memory import peak_memory
from harness.experiments.throughput.rounds import Rounds
from harness.experiments.throughput.timed_operations import (
    WORKLOAD,
    Blocks,
    TimedOperation,
    exact_results,
    operation_of,
)
from harness.machine import counters
from harness.numerics.formats import float_format
from harness.records import Record, Regime, ThroughputRecord
from harness.records.reader import cell_key
from harness.records.throughput import CacheState, Conditions
from harness.records.timing import CONTROL_SUFFIX
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

LIMITS = ("copy_regular", "copy_nontemporal")
ARITHMETIC = "exp_only"
"""The other limit, of float32 in cache, where memory is none: `exp_limit`."""
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


def baseline_of(context: Context, operation: str = "softmax") -> str | None:
    """The implementation that speeds are ratios to: the chosen one, else the first that runs."""
    available = [
        i.name
        for i in on_cpu(context)
        if context.unavailable(i) is None and operation in i.metadata.operations
    ]
    if context.baseline in available:
        return context.baseline
    return available[0] if available else None


def _allocations(
    implementation: Implementation, operation: str, grid: Timing, classes: int
) -> tuple[bool, ...]:
    """Whether to measure the call that allocates, the one with ``out=``, or both."""
    if operation not in implementation.metadata.operations_with_out:
        return (True,)
    return (False, True) if classes in grid.allocating_classes else (False,)


@dataclass(frozen=True)
class _Point:
    """One point of the grid: what all that are visited in the same rounds have in common."""

    operation: str
    regime: Regime
    dtype: str
    classes: int
    threads: str
    cache: CacheState

    @property
    def label(self) -> str:
        timed = "" if self.operation == "softmax" else f"{self.operation}, "
        cold = ", cold" if self.cache == "cold" else ""
        return (
            f"{timed}{self.regime} {self.dtype} {self.classes} classes, threads "
            f"{self.threads}{cold}"
        )


def _coordinates(context: Context, point: _Point) -> tuple[ThroughputRecord, ...]:
    regime, dtype, classes, cache = point.regime, point.dtype, point.classes, point.cache
    operation = operation_of(point.operation)
    grid = context.profile.timing[regime]
    rows = 1 if grid.elements == 0 else rows_for(grid.elements, classes)
    itemsize = float_format(dtype).dtype.itemsize
    array_bytes = rows * classes * itemsize
    moved = operation.traffic.moved(array_bytes, rows, itemsize)
    common: dict[str, Any] = {
        "dtype": dtype,
        "threads": 1 if point.threads == "one" else context.cores,
        "workload": WORKLOAD,
        "classes": classes,
        "rows": rows,
        "seed": context.seed,
        "regime": regime,
        "array_bytes": array_bytes,
        "cache": cache,
        "fits": describe_fit(array_bytes, context.l2_cache, context.last_level_cache),
        "status": "skipped",
        "device": "cpu",
    }
    found = []
    for implementation in on_cpu(context):
        allocations = _allocations(implementation, operation.name, grid, classes)
        for allocating in allocations[:1] if cache == "cold" else allocations:
            found.append(
                ThroughputRecord(
                    implementation=implementation.name,
                    operation=operation.name,
                    allocating=allocating,
                    processes=grid.processes if grid.processes > 1 else None,
                    moved_bytes=None if moved == 2 * array_bytes else moved,
                    **common,
                )
            )
    baseline = baseline_of(context, operation.name)
    if baseline is not None:
        found.append(control_of(next(r for r in found if r.implementation == baseline)))
    limits = [(name, "copy", operation.beside) for name in LIMITS]
    bare = operation.name == "softmax" and regime == "cached" and cache == "warm"
    if bare and dtype == "float32" and array_bytes >= 64:
        limits.append((ARITHMETIC, "exp", None))
    for name, kind, beside in limits:
        limit = ThroughputRecord(
            implementation=name, operation=kind, role="limit", beside=beside, allocating=False,
            **common,
        )  # fmt: skip
        found.append(limit)
    return tuple(found)


def _entrant(context: Context, record: ThroughputRecord) -> HostEntrant:
    """The worker of a record's implementation, control or limit; workers live for the run."""
    name = record.implementation
    original = name.removesuffix(CONTROL_SUFFIX)
    if original in (*LIMITS, ARITHMETIC):
        module = "exp_limit" if original == ARITHMETIC else "copy_limit"
        if original == "copy_nontemporal":
            from harness.machine import copy_limit  # numba, which planning does without

            supported, reason = copy_limit.nontemporal_supported()
            if not supported:
                raise WorkerFault("unsupported", reason)
        return HostEntrant(
            record, context.mover(name, {"module": f"harness.machine.{module}"}), calm=context.calm
        )
    implementation = context.named(name)
    context.demand(implementation, record.operation, str(record.dtype))
    both_ways = record.operation in implementation.metadata.operations_with_out
    if name == baseline_of(context, record.operation) and record.allocating and both_ways:
        # The two ways of calling the baseline take turns, which one process cannot.
        name = control_of(record).implementation
    worker = context.worker(name, implementation)
    return HostEntrant(record, worker, implementation, calm=context.calm)


def _judge(
    context: Context, operation: TimedOperation, others: Blocks, entrant: HostEntrant,
    rows: NDArray[Any], x: NDArray[Any], y: NDArray[Any],
) -> dict[str, Any]:  # fmt: skip
    """Is what was timed right? The result as large as the input, against the reference.

    Args:
        others: the arguments beside the first, whole.
        rows: indices of the rows of `x`, the first argument, and `y`.
    """
    assert entrant.implementation is not None
    inputs = (x, *(other[rows] for other in others))
    exact = exact_results(operation, inputs)
    # What other parts come to is judged on the output of the samples, in `_gate`.
    outputs = [
        y if operation.part in (None, k) else e.round_to(x.dtype) for k, e in enumerate(exact)
    ]
    return operation_gate(context, entrant.implementation, operation, inputs, outputs, exact)


def _gate(
    context: Context,
    operation: TimedOperation,
    scrutiny: Scrutiny,
    others: Blocks,
    entrant: HostEntrant,
) -> dict[str, Any]:
    """Rows of the last timed output against the reference of what was the input then."""
    x = entrant.sampled
    assert x is not None
    assert entrant.implementation is not None
    rows = scrutiny.rows_of(x)
    reply, outputs = entrant.worker.request(
        "output_rows", {"handle": entrant.handle, "rows": rows.tolist()}
    )
    inputs = (x[rows], *(other[rows] for other in others))
    exact = exact_results(operation, inputs)
    expected = [[len(x), *e.shape[1:]] for e in exact], [x.dtype.name] * len(exact)
    got = reply["shapes"], reply["dtypes"]
    if got != expected:
        return refused(f"timed output: expected {_arrays(*expected)}; got {_arrays(*got)}")
    return operation_gate(context, entrant.implementation, operation, inputs, outputs, exact)


def _arrays(shapes: Sequence[Sequence[int]], dtypes: Sequence[str]) -> str:
    return " and ".join(f"{list(s)} {d}" for s, d in zip(shapes, dtypes, strict=True))


def _readings(context: Context) -> Reading:
    pids = [worker.pid for worker in context.pool]
    return read([os.getpid(), *(p for p in pids if p is not None)])


def _measure(
    context: Context, point: _Point, only: Collection[str] | None = None
) -> Iterator[ThroughputRecord]:
    """Time the entrants of a point of the grid.

    Args:
        only: keys of the cells that are measured once more, beside the baseline, its control and
            the limits.
    """
    started = time.perf_counter()
    regime, dtype, classes = point.regime, point.dtype, point.classes
    grid = context.profile.timing[regime]
    timeout = context.profile.timeout_s
    operation = operation_of(point.operation)
    baseline = baseline_of(context, operation.name)
    records = _coordinates(context, point)
    if only is not None:
        records = tuple(
            r for r in records
            if cell_key(r) in only or r.role != "implementation"
            or (r.implementation == baseline and r.allocating == records[0].allocating)
        )  # fmt: skip
    rows = records[0].rows
    assert rows is not None
    entrants, absent = enrol(records, partial(_entrant, context))
    yield from absent
    with context.spending("timings: inputs"):
        first, *others = operation.blocks(rows, classes, dtype, context.seed)
    judge = partial(_judge, context, operation, tuple(others))
    scrutiny = Scrutiny(classes, rows, dtype, judge)
    arguments = (aligned(first), *others)
    before = _readings(context)
    if not context.calm.limit_ns:
        context.calm.learn()
    tested = secrets.randbelow(grid.processes)
    several = grid.processes > 1
    with context.spending("timings: inputs"):
        place([e for e in entrants if not (several and e.implementation)], arguments, timeout)
    test = partial(scrutiny.verify, entrants=entrants, timeout=timeout)
    for process in range(grid.processes):
        seed = " ".join(map(str, (context.seed, point.label, *([process] * (process > 0)))))
        if several:
            with context.spending("timings: new processes"):
                renew(entrants, arguments, timeout, seed)
        # the limits keep the process that they have, and are timed beside the first
        group = [e for e in entrants if process == 0 or e.implementation is not None]
        tried = test if process == tested else None
        rounds = Rounds(group, baseline, grid, timeout, seed, tried)
        rounds.take()
        for what, seconds in rounds.seconds.items():
            context.seconds[f"timings: {what}"] += seconds
    after = _readings(context)

    def judged(entrant: HostEntrant) -> dict[str, Any]:
        found = _gate(context, operation, scrutiny, tuple(others), entrant)
        return found if found["status"] == "failed" else found | verdict(entrant, entrants)

    def also(entrant: HostEntrant) -> None:
        if counters.unavailable() is None:
            entrant.count(timeout)
        if regime == "streaming":
            with context.spending("timings: memory"):
                peak_memory(entrant, timeout)

    with context.spending("timings: judging results"):
        conclude(entrants, baseline, grid, judged, also)
    found = conditions(before, after)
    undecided(entrants, baseline, grid, warnings_of(found))
    for entrant in entrants:
        entrant.update(warnings=doubts(entrant, context.cores) or None)
    for worker in {e.worker for e in entrants if e.fault is None}:
        worker.request("release")
    set_against_limit(entrants, context.last_level_cache)
    _describe(entrants, found)
    elapsed = time.perf_counter() - started
    for entrant in entrants:
        entrant.update(elapsed_s=elapsed / len(records))
        yield entrant.record
    if only is None:
        left = [e.record for e in entrants if e.record.undecided and e.implementation is not None]
        if left and not several:
            context.open.append((elapsed, partial(_once_more, context, point, left)))


def _once_more(
    context: Context, point: _Point, left: Sequence[ThroughputRecord]
) -> Iterator[Record]:
    """Cells that stayed open, timed in another moment: those records that know more than before.

    A record that contradicts the one before does not: which of the two is right is not known, and
    the first stays open for that reason.
    """
    before = {cell_key(r): r for r in left}
    for record in _measure(context, point, set(before)):
        old = before.get(cell_key(record))
        if old is None or record.status != "ok" or old.speedup is None or record.speedup is None:
            continue
        if contradict(old, record):
            why = f"{old.speedup:.3g} at first and {record.speedup:.3g} in another moment"
            yield old.model_copy(
                update={"undecided": f"measured twice: {why}; run again", "noisy": True}
            )
        elif _length(record) < _length(old):
            yield record


def contradict(one: ThroughputRecord, other: ThroughputRecord) -> bool:
    """Whether the intervals of two ratios have nothing in common."""
    low = max(r.speedup_low or 0.0 for r in (one, other))
    return low > min(r.speedup_high or math.inf for r in (one, other))


def _length(record: ThroughputRecord) -> float:
    """Of the interval of the ratio, as a factor."""
    low, high = record.speedup_low, record.speedup_high
    return high / low if low and high else math.inf


def _describe(entrants: list[HostEntrant], found: Conditions) -> None:
    """Write the conditions of a group on one of its records: a control's if there is one."""
    if entrants:
        last = max(entrants, key=lambda e: e.record.role == "control")
        told = [*(last.record.warnings or []), *warnings_of(found)]
        last.update(conditions=found, warnings=told or None)


def set_against_limit(entrants: list[HostEntrant], last_level_cache: int | None) -> None:
    """Set each time against the best copy of the group; flag what no machine can do."""
    copies = (e for e in entrants if e.record.role == "limit" and e.record.operation == "copy")
    best = best_of(copies)
    if best is not None and best.record.regime != "latency":
        cache = last_level_cache or math.inf

        def impossible(record: ThroughputRecord, limit: ThroughputRecord, least: float) -> bool:
            beyond = (record.array_bytes or 0) > cache
            above = (record.gbps_low or 0.0) > (limit.gbps_high or limit.gbps or 0.0)
            return beyond and above and least > 1.0

        set_against(best, entrants, impossible)


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each operation, regime, format, class count, threads and state of the caches."""
    for regime in REGIMES:
        grid = context.profile.timing.get(regime)
        if grid is None:
            continue
        for operation, dtype, threads, classes in product(
            grid.operations, grid.dtypes, grid.threads, grid.classes
        ):
            wanted = operation in context.profile.operations
            if not wanted or baseline_of(context, operation) is None:
                continue
            states: tuple[CacheState, ...] = ("warm",)
            if classes in grid.cold_classes:
                states = ("warm", "cold")
            for cache in states:
                point = _Point(operation, regime, dtype, classes, threads, cache)
                cells = _coordinates(context, point)
                each = 0.5 + grid.processes * grid.seconds + 1e-8 * grid.elements
                yield Unit(
                    "throughput", point.label, cells, partial(_measure, context, point),
                    each * len(cells), timed=True,
                )  # fmt: skip
