"""Interleaved rounds: entrants that share an input, sampled once a round in random order.

The mechanics of timing alone, on the host's clock (`HostEntrant`) or between events on a device
(`DeviceEntrant`): who takes part, and what the times mean, is decided elsewhere.
"""

from __future__ import annotations

import random
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.experiments.profiles import DeviceTiming, Timing
from harness.experiments.throughput.timed_operations import Blocks, operation_of
from harness.records import ThroughputRecord
from harness.records.device_throughput import DeviceThroughputRecord
from harness.records.throughput import Placement
from harness.records.timing import CONTROL_SUFFIX, TimingRecord
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault, start
from harness.worker.isolation.address_space import AddressSpace

_COLD_CALLS = 3
"""Calls of a cold sample, each after a sweep of the caches, which takes longer than the call."""

ALIGNMENT = 64
"""Bytes to which timed inputs are aligned: a cache line, and the widest vector."""

R = TypeVar("R", bound=TimingRecord)
G = TypeVar("G", Timing, DeviceTiming)


@dataclass
class Entrant(ABC, Generic[R, G]):
    """One column of the rounds: a worker, what it times, and what it gave.

    Attributes:
        record: is filled in as the rounds go on.
        implementation: None for a limit, a kernel of the harness that has the record's name.
        calls: of a sample.
        samples: ns of one call, one a round.
        preempted: how often each sample lost a processor; none on a device.
        fault: what ended it.
        ready: whether its process has been prepared.
    """

    record: R
    worker: RemoteImplementation
    implementation: Implementation | None = None
    calls: int = 1
    samples: list[float] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)
    fault: WorkerFault | None = None
    ready: bool = False

    def update(self, **changes: Any) -> None:
        self.record = self.record.model_copy(update=changes)

    @property
    def handle(self) -> str:
        """By which its worker knows it from the others that it has."""
        return f"{self.record.implementation}, allocating: {self.record.allocating}"

    @abstractmethod
    def place(self, sharing: Sequence[Self], arguments: Blocks, timeout: float) -> None:
        """Give the worker the arguments, for all entrants that share it."""

    @abstractmethod
    def prepare(self, grid: G, timeout: float) -> None:
        """Make the first call on the input in place, warm up, calibrate."""

    @abstractmethod
    def sample(self, grid: G, timeout: float) -> None:
        """Take the sample of a round."""

    @abstractmethod
    def costs(self) -> dict[str, Any]:
        """What was seen beside the times, as fields of the record."""

    def after_step(self) -> None:
        """Make way for the next entrant."""

    def after_fault(self, fault: WorkerFault) -> None:
        """Leave the worker as its other uses need it."""

    def _request_prepare(
        self, command: str, grid: G, timeout: float, **more: Any
    ) -> dict[str, Any]:
        record = self.record
        timed = None if self.implementation is None else operation_of(record.operation)
        kernel = record.implementation.removesuffix(CONTROL_SUFFIX)
        order = {
            "handle": self.handle,
            "operation": kernel if timed is None else timed.name,
            "options": {} if timed is None else timed.options,
            "allocating": bool(record.allocating),
            "min_sample_ns": grid.min_sample_ns,
            "warm_up_ns": grid.warm_up_ns,
            "warm_up_cap_ns": grid.warm_up_cap_ns,
            **more,
        }
        return self.worker.request(command, order, timeout=timeout)[0]


AnyEntrant = Entrant[Any, Any]
E = TypeVar("E", bound=AnyEntrant)


@dataclass
class HostEntrant(Entrant[ThroughputRecord, Timing]):
    """An entrant timed by the host's clock.

    `content` is the input in place, `sampled` what it was at the last sample (two entrants of one
    worker share the input). `processors` and `faults` are the processors that each sample used and
    the page faults of a call, `elsewhere` the share of processes below the worker in its time.
    `overheads` are what the coordinator's own clock saw of each sample beyond the time of its
    calls, ns. `integrity` found `restless`, elapsed and processor time of calls on an input that
    changes, and `caught`, what was wrong with a result.
    """

    processors: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)
    overheads: list[float] = field(default_factory=list)
    content: NDArray[Any] | None = None
    sampled: NDArray[Any] | None = None
    restless: tuple[list[float], list[float]] = ([], [])
    caught: str | None = None

    def place(self, sharing: Sequence[Self], arguments: Blocks, timeout: float) -> None:
        """With as many threads as are asked for; a copy takes the first argument alone."""
        for entrant in sharing:
            entrant.content = arguments[0]
        assert self.record.threads is not None
        self.worker.set_threads(self.record.threads, bound=True)
        given = arguments if self.implementation is not None else arguments[:1]
        cold = self.record.cache == "cold"
        self.worker.request("place", {"cold": cold}, arrays=given, timeout=timeout)

    def prepare(self, grid: Timing, timeout: float) -> None:
        record = self.record
        cold = record.cache == "cold"
        part = None if self.implementation is None else operation_of(record.operation).part
        reply = self._request_prepare(
            "prepare", grid, timeout, part=part, threads=record.threads, placement=True
        )
        calls = reply.pop("calls")
        if self.samples:  # of a process before this one, whose numbers stand
            if not cold and calls > self.calls:  # it was disturbed as it was calibrated
                self.calls = calls
                self.update(calls_per_sample=self.calls)
            return
        self.calls = _COLD_CALLS if cold else calls
        for placement in ("input_placement", "output_placement"):
            if reply.get(placement):
                reply[placement] = Placement(**reply[placement])
        self.update(calls_per_sample=self.calls, **reply)

    def sample(self, grid: Timing, timeout: float) -> None:
        cold = self.record.cache == "cold"
        # As long again as what counts: whoever was before left caches, tables of pages, branches.
        warm = self.calls if grid.warm and not cold else 0
        started = time.perf_counter_ns()
        reply, _ = self.worker.request(
            "sample",
            {"handle": self.handle, "calls": self.calls, "warm": warm, "cold": cold},
            timeout=timeout,
        )
        wall = time.perf_counter_ns() - started
        elapsed = reply["elapsed_ns"]
        self.sampled = self.content
        self.samples.append(elapsed / self.calls)
        self.preempted.append(reply["preempted"])
        self.processors.append(reply["cpu_ns"] / elapsed if elapsed else 0.0)
        spent = reply["cpu_ns"] + reply["elsewhere_ns"]
        self.elsewhere.append(reply["elsewhere_ns"] / spent if spent else 0.0)
        self.faults.append(reply["faults"] / self.calls)
        self.overheads.append(wall - elapsed * (self.calls + warm) / self.calls)

    def costs(self) -> dict[str, Any]:
        return {
            "preemptions": self.preempted,
            "processors_used": float(np.median(self.processors)),
            "page_faults": float(np.median(self.faults)),
        }

    def after_step(self) -> None:
        self.worker.settle()


@dataclass
class DeviceEntrant(Entrant[DeviceThroughputRecord, DeviceTiming]):
    """An entrant with buffers of its own on a device, timed between events there.

    `windows` are the times of whole samples, `after` what went on after their ends, both in ns.
    """

    after: list[float] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)

    def place(self, sharing: Sequence[Self], arguments: Blocks, timeout: float) -> None:
        """In each of several buffers, filled with the blocks over and over."""
        order = {
            "rows": self.record.rows,
            "buffers": self.record.buffers,
            "outputs": not all(e.record.allocating for e in sharing),
        }
        name = self.worker.request("device_facts", {}, timeout=timeout)[0]["name"]
        reply, _ = self.worker.request("device_place", order, arguments, timeout)
        for entrant in sharing:
            entrant.update(device_name=name, **reply)

    def prepare(self, grid: DeviceTiming, timeout: float) -> None:
        graph = self.record.regime == "graph"
        reply = self._request_prepare("device_prepare", grid, timeout, graph=graph)
        self.calls = reply.pop("calls")
        self.update(calls_per_sample=self.calls, **reply)

    def sample(self, grid: DeviceTiming, timeout: float) -> None:
        order = {"handle": self.handle, "calls": self.calls}
        reply, _ = self.worker.request("device_sample", order, timeout=timeout)
        self.samples.append(reply["elapsed_ns"] / self.calls)
        self.windows.append(reply["elapsed_ns"])
        self.after.append(float(reply["after_ns"]))

    def costs(self) -> dict[str, Any]:
        return {"after_ns": self.after}

    def after_fault(self, fault: WorkerFault) -> None:
        """The worker gives its memory back.

        After anything but a lack of memory the process is replaced: an error may leave the
        device's context unusable.
        """
        if fault.status == "out_of_memory":
            self.release()
        else:
            self.worker.stop()

    def release(self) -> None:
        """Have the worker give its memory back, or end it."""
        try:
            self.worker.request("device_release", {}, timeout=30.0)
        except WorkerFault:
            self.worker.stop()


def enrol(records: Iterable[R], entrant_of: Callable[[R], E]) -> tuple[list[E], list[R]]:
    """The entrants for records, and the records of those that cannot take part, with the reason."""
    entrants, absent = [], []
    for record in records:
        try:
            entrants.append(entrant_of(record))
        except WorkerFault as fault:
            absent.append(record.ended(fault.status, fault.reason))
    return entrants, absent


def control_of(record: R) -> R:
    """The same again under another name: what differs between the two is noise."""
    name = record.implementation + CONTROL_SUFFIX
    return record.model_copy(update={"implementation": name, "role": "control"})


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


def by_worker(entrants: Iterable[E]) -> list[list[E]]:
    """The entrants of each worker: what happens to that happens to all of them."""
    found: dict[str, list[E]] = {}
    for entrant in entrants:
        found.setdefault(entrant.worker.name, []).append(entrant)
    return list(found.values())


def end(entrants: Sequence[AnyEntrant], fault: WorkerFault) -> None:
    """End entrants of one worker; what ended one before stays its reason."""
    for entrant in entrants:
        entrant.fault = entrant.fault or fault
    entrants[0].after_fault(fault)


def place(entrants: Iterable[E], arguments: Blocks, timeout: float) -> None:
    """Give each worker the arguments, once, whatever number of entrants it has."""
    for mine in by_worker(entrants):
        try:
            mine[0].place(mine, arguments, timeout)
        except WorkerFault as fault:
            end(mine, fault)


def renew(entrants: list[HostEntrant], arguments: Blocks, timeout: float, seed: str) -> None:
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
    entrants: Sequence[Entrant[R, G]],
    grid: G,
    timeout: float,
    seed: str,
    between: Callable[[Any], None] | None = None,
) -> None:
    """Prepare every entrant, then sample each once a round in a seeded random order.

    The rounds are those of one process of each; where there are several, the limits are sampled
    once beside each. A worker that dies takes down all its entrants, and no other.

    Args:
        between: done once to each entrant, before its sample of a round that nobody can foretell
            (it is not drawn from the seed). The first round of several is never taken, so that an
            entrant has been timed by then.
    """
    several = isinstance(grid, Timing) and grid.processes > 1
    rounds = grid.rounds_each if isinstance(grid, Timing) else grid.rounds

    def prepare(entrant: Entrant[R, G]) -> None:
        entrant.prepare(grid, timeout)

    def sample(entrant: Entrant[R, G]) -> None:
        entrant.sample(grid, timeout)

    def attempt(entrant: Entrant[R, G], step: Callable[[Any], None]) -> None:
        if entrant.fault is None:
            try:
                step(entrant)
            except WorkerFault as fault:
                end([e for e in entrants if e.worker is entrant.worker], fault)
            else:
                entrant.after_step()

    for entrant in entrants:
        if not entrant.ready:
            attempt(entrant, prepare)
            entrant.ready = True
    shuffle = random.Random(seed).shuffle
    first = min(1, rounds - 1)
    when = [first + secrets.randbelow(rounds - first) for _ in entrants]
    for number in range(rounds):
        order = list(range(len(entrants)))
        if number and several:  # the limits need fewer samples than these have
            order = [i for i in order if entrants[i].implementation is not None]
        shuffle(order)
        for i in order:
            if between is not None and when[i] == number:
                attempt(entrants[i], between)
            attempt(entrants[i], sample)
