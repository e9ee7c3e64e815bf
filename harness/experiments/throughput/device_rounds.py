"""Interleaved rounds on a device: entrants with buffers of their own, sampled in random order.

The mechanics of timing alone, as in `rounds`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.experiments.profiles import DeviceTiming
from harness.experiments.throughput.rounds import by_worker, end
from harness.experiments.throughput.timed_operations import Blocks, operation_of
from harness.records.device_throughput import DeviceThroughputRecord
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault

Step = Callable[["Entrant", DeviceTiming, float], None]


@dataclass
class Entrant:
    """One column of the rounds."""

    record: DeviceThroughputRecord
    worker: RemoteImplementation
    implementation: Implementation | None = None
    calls: int = 1
    samples: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)
    fault: WorkerFault | None = None

    @property
    def handle(self) -> str:
        return self.record.implementation

    def update(self, **changes: Any) -> None:
        self.record = self.record.model_copy(update=changes)


def give_up(entrants: list[Entrant], fault: WorkerFault) -> None:
    """End the entrants of one worker, and have it give its memory back.

    After anything but a lack of memory the process is replaced: an error may leave the device's
    context unusable.
    """
    end(entrants, fault)
    worker = entrants[0].worker
    if fault.status != "out_of_memory":
        worker.stop()
        return
    try:
        worker.request("device_release", {}, timeout=30.0)
    except WorkerFault:
        worker.stop()


def place(entrants: list[Entrant], blocks: Blocks, timeout: float) -> None:
    """Give each worker its buffers, filled with the blocks over and over."""
    for mine in by_worker(entrants):
        worker, record = mine[0].worker, mine[0].record
        order = {
            "rows": record.rows,
            "buffers": record.buffers,
            "outputs": not all(e.record.allocating for e in mine),
        }
        try:
            name = worker.request("device_facts", {}, timeout=timeout)[0]["name"]
            reply, _ = worker.request("device_place", order, blocks, timeout)
        except WorkerFault as fault:
            give_up(mine, fault)
            continue
        for entrant in mine:
            entrant.update(device_name=name, **reply)


def _prepare(entrant: Entrant, grid: DeviceTiming, timeout: float) -> None:
    record = entrant.record
    limit = record.role == "limit"
    reply, _ = entrant.worker.request(
        "device_prepare",
        {
            "handle": entrant.handle,
            "operation": record.implementation if limit else record.operation,
            "options": {} if limit else operation_of(record.operation).options,
            "allocating": bool(record.allocating),
            "graph": record.regime == "graph",
            "min_sample_ns": grid.min_sample_ns,
            "warm_up_ns": grid.warm_up_ns,
            "warm_up_cap_ns": grid.warm_up_cap_ns,
        },
        timeout=timeout,
    )
    entrant.calls = reply.pop("calls")
    entrant.update(calls_per_sample=entrant.calls, **reply)


def _sample(entrant: Entrant, grid: DeviceTiming, timeout: float) -> None:
    order = {"handle": entrant.handle, "calls": entrant.calls}
    reply, _ = entrant.worker.request("device_sample", order, timeout=timeout)
    entrant.samples.append(reply["elapsed_ns"] / entrant.calls)
    entrant.windows.append(reply["elapsed_ns"])
    entrant.after.append(float(reply["after_ns"]))


def take_rounds(entrants: list[Entrant], grid: DeviceTiming, timeout: float, seed: str) -> None:
    """Prepare every entrant, then sample each once a round in a seeded random order."""

    def attempt(entrant: Entrant, step: Step) -> None:
        if entrant.fault is None:
            try:
                step(entrant, grid, timeout)
            except WorkerFault as fault:
                give_up([e for e in entrants if e.worker is entrant.worker], fault)

    for entrant in entrants:
        attempt(entrant, _prepare)
    draw = random.Random(seed)
    for _ in range(grid.rounds):
        for i in draw.sample(range(len(entrants)), len(entrants)):
            attempt(entrants[i], _sample)
