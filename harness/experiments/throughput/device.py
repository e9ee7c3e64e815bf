"""Speed on a device: every implementation there, a control and the limits beside the baseline.

The same bytes at every class count (`DeviceTiming.moved_bytes`), in buffers of more than four
times L2 that calls take in turn, so that none finds its input in L2; one row in a regime apart,
launch by launch and through a graph. Times are between events; copies to and from the host have
fields of their own. The limits are kernels that only read and write as many arrays as the
operation has to. What is faster than those beside it, beyond L2, is a mistake in the measurement,
and is rejected.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.experiments.context import Context, Unit
from harness.experiments.profiles import DeviceRegime
from harness.experiments.throughput.device_gate import gate, sampled
from harness.experiments.throughput.device_sizes import shape_of
from harness.experiments.throughput.diagnostics import (
    best_of,
    conclude,
    set_against,
    undecided,
)
from harness.experiments.throughput.entrants import (
    DeviceEntrant,
    by_worker,
    control_of,
    enrol,
    place,
)
from harness.experiments.throughput.rounds import Rounds
from harness.experiments.throughput.timed_operations import (
    LIMITS,
    OPERATIONS,
    WORKLOAD,
    Blocks,
    TimedOperation,
    Traffic,
    itemsize_of,
)
from harness.machine import cuda_driver
from harness.machine.nvml import clock_warnings, read_clock
from harness.records import Record, Status
from harness.records.device_throughput import DeviceThroughputRecord
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

MOVER = "device copy"
"""The worker that times the limits."""
MOVING_BACKENDS = ("cupy", "torch_cuda")
"""Array libraries with limits, the better ones first."""
BASELINE = "torch_cuda"
IMPLAUSIBLE = 1.02
BLOCK_BYTES = 16 << 20
"""Input that goes to the device, and is repeated there: as many rows as make this, or one."""


def on_device(context: Context) -> list[Implementation]:
    """The implementations of this experiment, available or not."""
    return [i for i in context.implementations if i.metadata.device != "cpu"]


def _available(context: Context) -> list[Implementation]:
    return [i for i in on_device(context) if context.unavailable(i) is None]


def refusal(
    context: Context, implementation: Implementation, operation: TimedOperation, dtype: str,
    regime: DeviceRegime,
) -> tuple[Status, str] | None:  # fmt: skip
    """The status and reason of a cell that cannot be timed at all; None where it can."""
    found = context.refusal(implementation, operation.contract, dtype)
    if found is not None:
        return found
    if operation.name != operation.contract and not implementation.metadata.offers_loss:
        return "unsupported", f"offers no {operation.name}"
    if regime == "graph" and implementation.metadata.backend == "jax_cuda":
        return "unsupported", "JAX offers no graphs of calls; XLA makes its own within one"
    return None


def baseline_of(
    context: Context, operation: TimedOperation, dtype: str, regime: DeviceRegime
) -> str | None:
    """The one chosen, else torch, else the first that runs; of those with the operation."""
    names = [
        i.name for i in on_device(context)
        if refusal(context, i, operation, dtype, regime) is None
    ]  # fmt: skip
    for name in (context.baseline, BASELINE):
        if name in names:
            return name
    return names[0] if names else None


def _allocating(implementation: Implementation, operation: TimedOperation) -> bool:
    return operation.name not in implementation.metadata.operations_with_out


def _coordinates(
    context: Context, regime: DeviceRegime, operation: TimedOperation, dtype: str, classes: int
) -> tuple[DeviceThroughputRecord, ...]:
    grid = context.profile.device_timing[regime]
    total, l2 = cuda_driver.cuda_memory()
    workers = len(_available(context)) + 2  # the control, the limits
    itemsize = itemsize_of(dtype)
    traffic = operation.traffic
    shape = shape_of(grid, classes, itemsize, workers, total, l2, traffic.arrays)

    def moved(by: Traffic) -> int:
        return by.moved(shape.array_bytes, shape.rows, itemsize)

    common: dict[str, Any] = {
        "dtype": dtype, "device": "cuda", "workload": WORKLOAD, "classes": classes,
        "rows": shape.rows, "seed": context.seed, "regime": regime, "status": "skipped",
        "array_bytes": shape.array_bytes, "wanted_bytes": shape.wanted_bytes,
        "buffers": shape.buffers, "fits": shape.fits,
    }  # fmt: skip
    found = [
        DeviceThroughputRecord(
            implementation=one.name, operation=operation.name, passes=one.metadata.passes,
            allocating=_allocating(one, operation), moved_bytes=moved(traffic), **common
        )
        for one in on_device(context)
    ]  # fmt: skip
    baseline = baseline_of(context, operation, dtype, regime)
    found += [control_of(r) for r in found if r.implementation == baseline]
    for limit in operation.limits:
        kind, by = LIMITS[limit]
        found.append(
            DeviceThroughputRecord(
                implementation=limit, operation=kind, role="limit", allocating=False,
                beside=operation.beside, moved_bytes=moved(by), **common
            )
        )  # fmt: skip
    return tuple(found)


def _entrant(
    context: Context, operation: TimedOperation, record: DeviceThroughputRecord
) -> DeviceEntrant:
    name = record.implementation
    if record.role == "limit":
        backends = {i.metadata.backend for i in _available(context)}
        backend = next((b for b in MOVING_BACKENDS if b in backends), None)
        if backend is None:
            raise WorkerFault("unavailable", f"no library with limits: {MOVING_BACKENDS}")
        load = {"module": "harness.worker.backends.device", "backend": backend, "watched": False}
        return DeviceEntrant(record, context.mover(MOVER, load))
    implementation = context.named(name)
    assert record.regime is not None
    refused = refusal(context, implementation, operation, str(record.dtype), record.regime)
    if refused is not None:
        raise WorkerFault(*refused)
    return DeviceEntrant(record, context.worker(name, implementation), implementation)


def _blocks(operation: TimedOperation, record: DeviceThroughputRecord, seed: int) -> Blocks:
    assert record.classes is not None
    assert record.rows is not None
    assert record.dtype is not None
    rows = min(record.rows, max(1, BLOCK_BYTES // (record.classes * itemsize_of(record.dtype))))
    return operation.blocks(rows, record.classes, record.dtype, seed)


def _set_against_limit(entrants: list[DeviceEntrant], l2: int) -> None:
    """Bandwidths against the best limit; without one, whether they are possible is unknown."""
    best = best_of(e for e in entrants if e.record.role == "limit")
    timed = [e for e in entrants if e.record.gbps is not None and e.record.regime == "streaming"]
    if best is None:
        text = "no limit was measured beside it: whether its bandwidth is possible is unknown"
        for entrant in timed:
            entrant.update(warnings=[text])
        return

    def impossible(
        record: DeviceThroughputRecord, limit: DeviceThroughputRecord, least: float
    ) -> bool:
        beyond = (record.moved_bytes or 0) * (record.buffers or 1) > l2
        return beyond and (record.gbps or 0.0) > IMPLAUSIBLE * (limit.gbps or math.inf)

    set_against(best, timed, impossible)


def _measure(
    context: Context, regime: DeviceRegime, operation: TimedOperation, dtype: str, classes: int
) -> Iterator[Record]:
    started = time.perf_counter()
    grid = context.profile.device_timing[regime]
    timeout = context.profile.timeout_s
    records = _coordinates(context, regime, operation, dtype, classes)
    entrants, absent = enrol(records, partial(_entrant, context, operation))
    yield from absent
    if all(e.record.role == "limit" for e in entrants):  # nobody to set against them
        for entrant in entrants:
            yield entrant.record.ended("skipped", "no implementation could be timed beside it")
        return
    blocks, fresh = (
        _blocks(operation, records[0], s) for s in (context.seed, secrets.randbits(48))
    )
    place(entrants, blocks, timeout)
    before = read_clock(bus_id=cuda_driver.cuda_bus_id())
    seed = f"{context.seed} {regime} {operation.name} {dtype} {classes}"
    baseline = baseline_of(context, operation, dtype, regime)
    Rounds(entrants, baseline, grid, timeout, seed).take()
    after = read_clock(bus_id=cuda_driver.cuda_bus_id())
    samples = [sampled(operation, b, records[0].rows or 1, b is fresh) for b in (blocks, fresh)]
    conclude(entrants, baseline, grid, lambda entrant: gate(context, entrant, samples))
    undecided(entrants, baseline, grid, clock_warnings(before, after))
    _set_against_limit(entrants, cuda_driver.cuda_memory()[1])
    for mine in by_worker(e for e in entrants if e.fault is None):
        mine[0].release()
    elapsed = (time.perf_counter() - started) / len(records)
    found = clock_warnings(before, after)
    for entrant in entrants:
        told = [*(entrant.record.warnings or []), *found]
        if entrant.record.warm_up_settled is False:
            told.append("calls were still getting faster at the cap of the warm-up; raise the cap")
        if entrant.fault is not None and not entrant.record.samples_ns:
            entrant.update(ranked=False)
        entrant.update(
            clock_before=before, clock_after=after, warnings=told or None, elapsed_s=elapsed
        )
        yield entrant.record


def _absent(context: Context) -> tuple[DeviceThroughputRecord, ...]:
    """Without a device: a record for each implementation, which says why."""
    found = []
    for one in on_device(context):
        record = DeviceThroughputRecord(implementation=one.name, device="cuda", status="skipped")
        found.append(record.ended("unavailable", context.unavailable(one) or "no device"))
    return tuple(found)


def _points(context: Context) -> Iterator[tuple[DeviceRegime, TimedOperation, str, int]]:
    """Softmax in every regime, then the other operations."""
    for operation in OPERATIONS:
        if operation.contract not in context.profile.operations:
            continue
        for regime, grid in context.profile.device_timing.items():
            own = operation.name == "softmax"
            for dtype in grid.dtypes:
                for classes in grid.classes if own else grid.other_classes:
                    yield regime, operation, dtype, classes


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each operation, regime, format and class count; without a device one says why."""
    points = list(_points(context))
    if not points or not on_device(context):
        return
    if not _available(context):
        if "softmax" not in context.profile.operations:  # one record of each says it
            return
        absent = _absent(context)
        yield Unit("device_throughput", "no device", absent, lambda: iter(absent), 0.01, timed=True)
        return
    for point in points:
        regime, operation, dtype, classes = point
        head = "" if operation.name == "softmax" else f"{operation.name} "
        yield Unit(
            "device_throughput", f"device {head}{regime} {dtype} {classes} classes",
            _coordinates(context, *point), partial(_measure, context, *point), 2.0, timed=True,
        )  # fmt: skip
