"""Interleaved rounds: entrants that share an input, sampled once a round in random order.

The mechanics of timing alone: who takes part, and what the times mean, is decided elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from harness.discovery import Implementation
from harness.profiles import Timing
from harness.records import ThroughputRecord
from harness.remote import RemoteImplementation, WorkerFault


@dataclass
class Entrant:
    """One column of the rounds: a worker, how it is prepared, and what it gave."""

    record: ThroughputRecord
    worker: RemoteImplementation
    operation: str
    options: dict[str, Any]
    implementation: Implementation | None = None
    calls: int = 1
    samples: list[float] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)
    fault: WorkerFault | None = None

    @property
    def handle(self) -> str:
        return "allocating" if self.record.allocating else "out"

    def update(self, **changes: Any) -> None:
        self.record = self.record.model_copy(update=changes)


def _prepare(entrant: Entrant, grid: Timing, timeout: float) -> None:
    """Make the first call on the input in place, warm up, calibrate."""
    reply, _ = entrant.worker.request(
        "prepare",
        {
            "handle": entrant.handle,
            "operation": entrant.operation,
            "options": entrant.options,
            "allocating": bool(entrant.record.allocating),
            "min_sample_ns": grid.min_sample_ns,
            "warm_up_ns": grid.warm_up_ns,
        },
        timeout=timeout,
    )
    entrant.calls = reply["calls"]
    entrant.update(calls_per_sample=reply["calls"], first_call_ns=float(reply["first_call_ns"]))


def _sample(entrant: Entrant, grid: Timing, timeout: float) -> None:
    reply, _ = entrant.worker.request(
        "sample",
        {"handle": entrant.handle, "calls": entrant.calls, "warm": grid.warm_calls},
        timeout=timeout,
    )
    entrant.samples.append(reply["elapsed_ns"] / entrant.calls)
    entrant.preempted.append(reply["preempted"])


def place(entrants: list[Entrant], x: NDArray[Any], timeout: float) -> None:
    """Give each worker its threads and the input, once, whatever number of entrants it has."""
    for worker in {e.worker.name: e.worker for e in entrants}.values():
        mine = [e for e in entrants if e.worker is worker]
        try:
            threads = mine[0].record.threads
            assert threads is not None
            worker.set_threads(threads)
            worker.request("place", arrays=(x,), timeout=timeout)
        except WorkerFault as fault:
            for entrant in mine:
                entrant.fault = fault


def take_rounds(entrants: list[Entrant], grid: Timing, timeout: float, seed: str) -> None:
    """Prepare every entrant, then sample each once a round in a seeded random order.

    A worker that dies takes down all its entrants, and no other.
    """
    shuffle = random.Random(seed).shuffle

    def attempt(entrant: Entrant, step: Callable[[Entrant, Timing, float], None]) -> None:
        if entrant.fault is None:
            try:
                step(entrant, grid, timeout)
            except WorkerFault as fault:
                for other in entrants:
                    if other.worker is entrant.worker:
                        other.fault = other.fault or fault
            else:
                entrant.worker.settle()

    for entrant in entrants:
        attempt(entrant, _prepare)
    for _ in range(grid.rounds):
        order = list(entrants)
        shuffle(order)
        for entrant in order:
            attempt(entrant, _sample)
