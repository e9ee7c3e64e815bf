"""Interleaved rounds: entrants that share an input, sampled once a round in random order.

The mechanics of timing alone: who takes part, and what the times mean, is decided elsewhere.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.experiments.profiles import Timing
from harness.records import ThroughputRecord
from harness.records.throughput import Placement
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault, start
from harness.worker.isolation.address_space import AddressSpace

_COLD_CALLS = 3
"""Calls of a cold sample, each after a sweep of the caches, which takes longer than the call."""

ALIGNMENT = 64
"""Bytes to which timed inputs are aligned: a cache line, and the widest vector."""

Step = Callable[["Entrant", Timing, float], None]


@dataclass
class Entrant:
    """One column of the rounds: a worker, how it is prepared, and what it gave.

    `part` is which of several results is as large as the input. `content` is the input in place,
    `sampled` what it was at the last sample (two entrants of one worker share the input).
    `overheads` are what the coordinator's own clock saw of each sample beyond the time of its
    calls, ns.
    """

    record: ThroughputRecord
    worker: RemoteImplementation
    operation: str
    options: dict[str, Any]
    implementation: Implementation | None = None
    part: int | None = None
    calls: int = 1
    samples: list[float] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)
    processors: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)
    overheads: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    content: NDArray[Any] | None = None
    sampled: NDArray[Any] | None = None
    fault: WorkerFault | None = None
    ready: bool = False

    @property
    def handle(self) -> str:
        return "allocating" if self.record.allocating else "out"

    def update(self, **changes: Any) -> None:
        self.record = self.record.model_copy(update=changes)


def _prepare(entrant: Entrant, grid: Timing, timeout: float) -> None:
    """Make the first call on the input in place, warm up, calibrate."""
    record = entrant.record
    cold = record.cache == "cold"
    reply, _ = entrant.worker.request(
        "prepare",
        {
            "handle": entrant.handle,
            "operation": entrant.operation,
            "options": entrant.options,
            "part": entrant.part,
            "allocating": bool(record.allocating),
            "threads": record.threads,
            "min_sample_ns": grid.min_sample_ns,
            "warm_up_ns": grid.warm_up_ns,
            "warm_up_cap_ns": grid.warm_up_cap_ns,
            "placement": True,
        },
        timeout=timeout,
    )
    if entrant.samples:  # of a process before this one, whose figures stand
        if not cold and reply["calls"] > entrant.calls:  # it was disturbed as it was calibrated
            entrant.calls = reply["calls"]
            entrant.update(calls_per_sample=entrant.calls)
        return
    entrant.calls = _COLD_CALLS if cold else reply["calls"]
    places = {
        k: Placement(**reply[k]) if reply.get(k) else None
        for k in ("input_placement", "output_placement")
    }
    entrant.update(
        calls_per_sample=entrant.calls,
        first_call_ns=float(reply["first_call_ns"]),
        warm_up_ns=float(reply["warm_up_ns"]),
        warm_up_calls=reply["warm_up_calls"],
        warm_up_settled=reply["warm_up_settled"],
        threads_found=reply["threads_found"],
        **places,
    )


def _sample(entrant: Entrant, grid: Timing, timeout: float) -> None:
    cold = entrant.record.cache == "cold"
    # As long again as what counts: whoever was before left caches, tables of pages and branches.
    warm = entrant.calls if grid.warm and not cold else 0
    started = time.perf_counter_ns()
    reply, _ = entrant.worker.request(
        "sample",
        {"handle": entrant.handle, "calls": entrant.calls, "warm": warm, "cold": cold},
        timeout=timeout,
    )
    wall = time.perf_counter_ns() - started
    elapsed = reply["elapsed_ns"]
    entrant.sampled = entrant.content
    entrant.samples.append(elapsed / entrant.calls)
    entrant.preempted.append(reply["preempted"])
    entrant.processors.append(reply["cpu_ns"] / elapsed if elapsed else 0.0)
    entrant.faults.append(reply["faults"] / entrant.calls)
    entrant.overheads.append(wall - elapsed * (entrant.calls + warm) / entrant.calls)


def aligned(x: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins at a cache line: workers keep the alignment that an array has here.

    NumPy aligns to 16 bytes, and every second vector of 32 or every one of 64 would straddle two
    lines.
    """
    block = np.empty(x.nbytes + ALIGNMENT, np.uint8)
    start = -block.__array_interface__["data"][0] % ALIGNMENT
    copy = block[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def place(entrants: list[Entrant], arguments: Sequence[NDArray[Any]], timeout: float) -> None:
    """Give each worker its threads and the arguments, once, whatever number of entrants it has.

    A copy takes the first argument alone, which `content` is.
    """
    for mine in by_worker(entrants):
        worker, record = mine[0].worker, mine[0].record
        try:
            assert record.threads is not None
            worker.set_threads(record.threads, bound=True)
            cold = record.cache == "cold"
            given = tuple(arguments if mine[0].implementation is not None else arguments[:1])
            worker.request("place", {"cold": cold}, arrays=given, timeout=timeout)
        except WorkerFault as fault:
            end(mine, fault)
        for entrant in mine:
            entrant.content = arguments[0]


class Faulty(Protocol):
    """What is needed of an entrant to end it."""

    fault: WorkerFault | None

    @property
    def worker(self) -> RemoteImplementation: ...


E = TypeVar("E", bound=Faulty)


def by_worker(entrants: Iterable[E]) -> list[list[E]]:
    """The entrants of each worker: what happens to that happens to all of them."""
    found: dict[str, list[E]] = {}
    for entrant in entrants:
        found.setdefault(entrant.worker.name, []).append(entrant)
    return list(found.values())


def end(entrants: Iterable[Faulty], fault: WorkerFault) -> None:
    """End the entrants of a worker; what ended one before stays its reason."""
    for entrant in entrants:
        entrant.fault = entrant.fault or fault


def renew(
    entrants: list[Entrant], arguments: Sequence[NDArray[Any]], timeout: float, seed: str
) -> None:
    """New processes for the implementations: another place in memory for code and arrays.

    The same code is a percent or two faster or slower for that alone, and no number of rounds in
    one process shows it (Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013).
    The place is drawn from the seed, one for all of them. The limits keep their processes.
    """
    renewed = [e for e in entrants if e.fault is None and e.implementation is not None]
    for entrant in renewed:
        assert entrant.record.threads is not None
        entrant.worker.expect_threads(entrant.record.threads, bound=True)
    start({e.worker for e in renewed}, anew=AddressSpace.draw(seed))
    place(renewed, arguments, timeout)
    for entrant in renewed:
        entrant.ready = False


def take_rounds(
    entrants: list[Entrant], grid: Timing, timeout: float, seed: str, between: Step | None = None
) -> None:
    """Prepare every entrant, then sample each once a round in a seeded random order.

    The rounds are those of one process of each; where there are several, the limits are sampled
    once beside each. A worker that dies takes down all its entrants, and no other.

    Args:
        between: done once to each entrant, before its sample of a round that nobody can foretell
            (it is not drawn from the seed). The first round of several is never taken, so that an
            entrant has been timed by then.
    """
    shuffle = random.Random(seed).shuffle

    def attempt(entrant: Entrant, step: Step) -> None:
        if entrant.fault is None:
            try:
                step(entrant, grid, timeout)
            except WorkerFault as fault:
                end((e for e in entrants if e.worker is entrant.worker), fault)
            else:
                entrant.worker.settle()

    for entrant in entrants:
        if not entrant.ready:
            attempt(entrant, _prepare)
            entrant.ready = True
    rounds = grid.rounds_each
    first = min(1, rounds - 1)
    when = [first + secrets.randbelow(rounds - first) for _ in entrants]
    for number in range(rounds):
        order = list(range(len(entrants)))
        if number and grid.processes > 1:  # the limits need fewer samples than these have
            order = [i for i in order if entrants[i].implementation is not None]
        shuffle(order)
        for i in order:
            if between is not None and when[i] == number:
                attempt(entrants[i], between)
            attempt(entrants[i], _sample)
