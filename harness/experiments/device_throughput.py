"""Speed on a device: interleaved rounds of every implementation there, a control and the copies.

The same bytes at every class count (`DeviceTiming.moved_bytes`), in buffers of more than four
times L2 that calls take in turn, so that none finds its input in L2; one row in a regime apart,
launch by launch and through a graph. Times are between events; copies to and from the host have
fields of their own. What is faster than the copy of the same rounds, beyond L2, is a mistake in
the measurement, and is rejected.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from numpy.typing import NDArray

from harness import devices, workloads
from harness.device_clock import clock_warnings, read_clock
from harness.discovery import Implementation
from harness.experiments.context import Context, Unit, worker_for
from harness.experiments.device_evidence import (
    Sampled,
    figures,
    gate,
    noisy_of,
    sampled,
    set_against_limit,
)
from harness.experiments.device_rounds import Entrant, give_up, place, take_rounds
from harness.experiments.device_sizes import shape_of
from harness.floats import float_format
from harness.profiles import DeviceRegime
from harness.records import Record
from harness.records.device_throughput import DeviceThroughputRecord
from harness.records.throughput import CONTROL_SUFFIX
from harness.remote import RemoteImplementation, WorkerFault

WORKLOAD = "normal(scale=1)"
COPIES = ("copy_kernel", "copy_memcpy")
COPIER = "device copy"
BASELINE = "torch_cuda"
BLOCK_BYTES = 16 << 20
"""Input that goes to the device, and is repeated there: as many rows as make this, or one."""


def on_device(context: Context) -> list[Implementation]:
    """The implementations of this experiment, available or not."""
    return [i for i in context.implementations if i.metadata.device != "cpu"]


def _available(context: Context) -> list[Implementation]:
    return [i for i in on_device(context) if context.unavailable(i) is None]


def baseline_of(context: Context) -> str | None:
    """The one chosen, else torch, else the first that runs."""
    names = [i.name for i in _available(context)]
    for name in (context.baseline, BASELINE):
        if name in names:
            return name
    return names[0] if names else None


def _coordinates(
    context: Context, regime: DeviceRegime, dtype: str, classes: int
) -> tuple[DeviceThroughputRecord, ...]:
    grid = context.profile.device_timing[regime]
    total, l2 = devices.cuda_memory()
    workers = len(_available(context)) + 2  # the control, the copies
    itemsize = float_format(dtype).dtype.itemsize
    shape = shape_of(grid, classes, itemsize, workers, total, l2)
    common: dict[str, Any] = {
        "dtype": dtype, "device": "cuda", "workload": WORKLOAD, "classes": classes,
        "rows": shape.rows, "seed": context.seed, "regime": regime, "status": "skipped",
        "array_bytes": shape.array_bytes, "wanted_bytes": shape.wanted_bytes,
        "buffers": shape.buffers, "fits": shape.fits,
    }  # fmt: skip
    found = []
    for one in on_device(context):
        allocating = "softmax" not in one.metadata.operations_with_out
        found.append(
            DeviceThroughputRecord(
                implementation=one.name, allocating=allocating, passes=one.metadata.passes, **common
            )
        )
    baseline = next(r for r in found if r.implementation == baseline_of(context))
    name = baseline.implementation + CONTROL_SUFFIX
    found.append(baseline.model_copy(update={"implementation": name, "role": "control"}))
    for copy in COPIES:
        found.append(
            DeviceThroughputRecord(
                implementation=copy, operation="copy", role="limit", allocating=False, **common
            )
        )
    return tuple(found)


def _entrant(context: Context, record: DeviceThroughputRecord) -> Entrant:
    name = record.implementation
    if record.role == "limit":
        if COPIER not in context.pool:
            backend = _available(context)[0].metadata.backend
            spec = {"module": "harness.backends.device", "backend": backend, "watched": False}
            context.pool.add(RemoteImplementation(COPIER, spec))
        return Entrant(record, context.pool[COPIER])
    original = name.removesuffix(CONTROL_SUFFIX)
    implementation = next(i for i in context.implementations if i.name == original)
    refusal = context.refusal(implementation, record.operation, str(record.dtype))
    if refusal is not None:
        raise WorkerFault(*refusal)
    if name not in context.pool:
        context.pool.add(worker_for(implementation, name))
    return Entrant(record, context.pool[name], implementation)


def _block(context: Context, record: DeviceThroughputRecord, seed: int) -> NDArray[Any]:
    assert record.classes is not None
    assert record.rows is not None
    assert record.dtype is not None
    row = record.classes * float_format(record.dtype).dtype.itemsize
    rows = min(record.rows, max(1, BLOCK_BYTES // row))
    return workloads.generate(WORKLOAD, record.classes, rows, record.dtype, seed)


def _finish(context: Context, entrants: list[Entrant], block: NDArray[Any]) -> None:
    baseline, noisy = baseline_of(context), noisy_of(entrants)
    samples: tuple[Sampled, ...] = ()
    if entrants:
        record = entrants[0].record
        fresh = _block(context, record, secrets.randbits(48))
        samples = tuple(sampled(b, record.rows or 1, b is fresh) for b in (block, fresh))
    for entrant in entrants:
        if entrant.fault is None:
            try:
                found = {} if entrant.implementation is None else gate(context, entrant, samples)
                entrant.update(status="ok", reason=None, noisy=noisy)
                entrant.update(**figures(entrant, entrants, baseline), **found)
            except WorkerFault as fault:
                give_up([e for e in entrants if e.worker is entrant.worker], fault)
        if entrant.fault is not None:
            entrant.update(status=entrant.fault.status, reason=entrant.fault.reason)
            if not entrant.record.samples_ns:
                entrant.update(ranked=False)


def _measure(context: Context, regime: DeviceRegime, dtype: str, classes: int) -> Iterator[Record]:
    started = time.perf_counter()
    grid = context.profile.device_timing[regime]
    timeout = context.profile.timeout_s
    records = _coordinates(context, regime, dtype, classes)
    entrants: list[Entrant] = []
    for record in records:
        try:
            entrants.append(_entrant(context, record))
        except WorkerFault as fault:
            yield record.ended(fault.status, fault.reason)
    block = _block(context, records[0], context.seed)
    place(entrants, block, timeout)
    before = read_clock()
    take_rounds(entrants, grid, timeout, f"{context.seed} {regime} {dtype} {classes}")
    after = read_clock()
    _finish(context, entrants, block)
    set_against_limit(entrants, devices.cuda_memory()[1])
    for worker in {e.worker.name: e.worker for e in entrants if e.fault is None}.values():
        try:
            worker.request("device_release", {}, timeout=30.0)
        except WorkerFault:
            worker.stop()
    elapsed = (time.perf_counter() - started) / len(records)
    found = clock_warnings(before, after)
    for entrant in entrants:
        told = [*(entrant.record.warnings or []), *found]
        if entrant.record.warm_up_settled is False:
            told.append("calls were still getting faster at the cap of the warm-up; raise the cap")
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


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each regime, format and class count; one that says why without a device."""
    if "softmax" not in context.profile.operations or not on_device(context):
        return
    if not _available(context):
        absent = _absent(context)
        yield Unit("device_throughput", "no device", absent, lambda: iter(absent), 0.01)
        return
    for regime, grid in context.profile.device_timing.items():
        for dtype in grid.dtypes:
            for classes in grid.classes:
                point: tuple[DeviceRegime, str, int] = (regime, dtype, classes)
                yield Unit(
                    "device_throughput", f"device {regime} {dtype} {classes} classes",
                    _coordinates(context, *point), partial(_measure, context, *point), 2.0,
                )  # fmt: skip
