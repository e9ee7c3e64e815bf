"""An entrant of a timed group: its worker, its prepared call, its samples.

On the host's clock (`HostEntrant`) or between events on a device (`DeviceEntrant`). How they are
visited is `rounds`.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.experiments.profiles import DeviceTiming, Timing
from harness.experiments.throughput.timed_operations import Blocks, operation_of
from harness.numerics.statistics import (
    Ratio,
    Visits,
    logs_of_processes,
    of_visits,
    ratio,
    ratio_of_logs,
)
from harness.records import ThroughputRecord
from harness.records.device_throughput import DeviceThroughputRecord
from harness.records.throughput import Placement
from harness.records.timing import CONTROL_SUFFIX, TimingRecord
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault, start, stop
from harness.worker.isolation.address_space import AddressSpace
from harness.worker.timing.calm import Calm

ALIGNMENT = 64
"""Bytes to which timed inputs are aligned: a cache line, and the widest vector."""

_COLD_CALLS = 3
"""Calls of a cold sample, each after a sweep of the caches, which takes longer than the call."""

_VISIT_NS, _MOST_SAMPLES = 15e6, 6
"""A visit is of about so many ns and of so many samples at most, of one at least: a moment in which
the machine leaves one alone is as short as that, and the next visit may find another."""

_RESTS, _RESTS_LOOKED_AT = 0.001, 3
"""Seconds; a pool that goes on spinning for longer, each time that it was looked at, is waited
for."""

_WAITED = 0.02
"""Share of a sample that its threads may have waited for processors that other programs had."""

_TIMES_WAITED, _TURN_NS = 4.0, 2e6
"""Threads that are more than their processors wait for each other: for as long again and again (a
quarter of the samples waited less), and less than another program has a processor for."""

_PATIENCE_S = 0.03
"""For how long a calm moment is waited for before a test of integrity."""

_EPOCH = time.time() - time.perf_counter()

R = TypeVar("R", bound=TimingRecord)
G = TypeVar("G", Timing, DeviceTiming)


@dataclass(eq=False)
class Entrant(ABC, Generic[R, G]):
    """One that is timed: a worker, what it times, and what it gave.

    Attributes:
        record: is filled in as the samples are taken.
        implementation: None for a limit, a kernel of the harness that has the record's name.
        calls: of a sample.
        samples_a_visit: as many in every one.
        samples: ns of one call, one a sample.
        at: when the visits were that gave them, in seconds of the system's time.
        seconds: that the visits took.
        rests: seconds after a visit until no thread of the worker runs any more.
        fault: what ended it.
        ready: whether its process has been prepared.
        tries, disturbed: visits, and how many of them did not find the machine calm.
        anyway: visits that were made all the same, since there was no more time.
    """

    record: R
    worker: RemoteImplementation
    implementation: Implementation | None = None
    calls: int = 1
    samples_a_visit: int = 1
    samples: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    seconds: float = 0.0
    rests: float = 0.0
    fault: WorkerFault | None = None
    ready: bool = False
    tries: int = 0
    disturbed: int = 0
    anyway: int = 0

    def update(self, **changes: Any) -> None:
        self.record = self.record.model_copy(update=changes)

    @property
    def handle(self) -> str:
        """By which its worker knows it from the others that it has."""
        return f"{self.record.implementation}, allocating: {self.record.allocating}"

    @property
    def visited(self) -> int:
        """How many visits gave samples."""
        return len(self.at)

    @property
    def visits(self) -> Visits:
        if not self.at:
            return Visits(np.empty(0))
        return Visits(of_visits(self.samples, self.visited), np.array(self.at))

    def ratio_to(self, baseline: Entrant[R, G]) -> Ratio:
        """Its time over the baseline's."""
        mine: Visits = self.visits
        its: Visits = baseline.visits
        count: int = self.record.processes or 1
        whole = len(mine) % count == 0 == len(its) % count
        if count > 1 and whole and min([*mine.ns, *its.ns], default=0.0) > 0.0:
            return ratio_of_logs(logs_of_processes(mine, its, count))
        return ratio(mine, its)

    @abstractmethod
    def place(self, sharing: Sequence[Self], arguments: Blocks, timeout: float) -> None:
        """Give the worker the arguments, for all entrants that share it."""

    @abstractmethod
    def prepare(self, grid: G, timeout: float) -> None:
        """Make the first call on the input in place, warm up, calibrate."""

    @abstractmethod
    def visit(self, timeout: float, *, anyway: bool = False) -> None:
        """Take some samples, in at most so many seconds, if the machine is calm, or anyway."""

    @abstractmethod
    def costs(self) -> dict[str, Any]:
        """What was seen beside the times, as fields of the record."""

    def await_calm(self, timeout: float) -> None:
        """Wait a little for a moment in which nothing disturbs it."""

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
        reply = self.worker.request(command, order, timeout=timeout)[0]
        self.ready = True
        calls, per_call = reply.pop("calls"), reply.pop("per_call_ns")
        if not self.samples:
            fit = round(_VISIT_NS / max(per_call * calls, 1.0))
            self.samples_a_visit = min(max(1, fit), _MOST_SAMPLES)
        if not self.samples or calls > self.calls:  # it may have been disturbed as it calibrated
            self.calls = calls
        return reply


AnyEntrant = Entrant[Any, Any]
E = TypeVar("E", bound=AnyEntrant)


@dataclass(eq=False)
class HostEntrant(Entrant[ThroughputRecord, Timing]):
    """An entrant timed by the host's clock.

    `content` is the input in place, `sampled` what it was at the last sample (two entrants of one
    worker share the input). `processors` and `faults` are the processors that each sample used and
    the page faults of a call, `elsewhere` the share of processes below the worker in the time of
    each visit. `overheads` are what the coordinator's own clock saw of a visit beyond the time of
    its samples, ns. `integrity` found `restless`, elapsed and processor time of calls on an input
    that changes, and `caught`, what was wrong with a result. `calm` tells a disturbed machine from
    a calm one, for all entrants of a run; `probe_ns` is what its last probe took. `cores` are those
    that it is bound to: one where no other thread of it takes part, since which of several it comes
    upon is chance. `waits` is what its threads waited for processors in every sample, ns.
    """

    processors: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)
    overheads: list[float] = field(default_factory=list)
    calm: Calm = field(default_factory=Calm)
    probe_ns: float = 0.0
    content: NDArray[Any] | None = None
    sampled: NDArray[Any] | None = None
    restless: tuple[list[float], list[float]] = ([], [])
    caught: str | None = None
    warm: bool = False
    cores: int = 1
    waits: list[float] = field(default_factory=list)

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
        self.worker.bind(record.threads or 1)
        reply = self._request_prepare(
            "prepare", grid, timeout, part=part, threads=record.threads, placement=True
        )
        threads = record.threads or 1
        self.cores = threads if reply.pop("helped", False) else 1
        self.warm = grid.warm and not cold
        if cold:
            self.calls = _COLD_CALLS
        self.update(calls_per_sample=self.calls)
        self.worker.settle()
        if self.samples:  # of a process before this one, whose numbers stand
            return
        for placement in ("input_placement", "output_placement"):
            if reply.get(placement):
                reply[placement] = Placement(**reply[placement])
        self.update(**reply)
        if threads > 1:
            self.update(cores=self.cores)
        if self.cores > 1:
            self._see_it_rest(timeout)

    def _see_it_rest(self, timeout: float) -> None:
        """How long its threads run on after a call: the shortest of some times."""
        for _ in range(_RESTS_LOOKED_AT):
            self._samples(1, timeout)
            started = time.perf_counter()
            self.worker.settle()
            waited = time.perf_counter() - started
            self.rests = min(waited, self.rests or waited)
            if waited <= _RESTS:
                self.rests = 0.0
                break
        self.update(spins_ms=1e3 * self.rests)

    def _samples(self, count: int, timeout: float, limit_ns: float = 0.0) -> dict[str, Any]:
        self.worker.bind(self.cores)
        order = {"handle": self.handle, "calls": self.calls, "warm": self.warm, "count": count}
        cold = self.record.cache == "cold"
        order |= {"cold": cold, "limit_ns": limit_ns}
        seen = self.worker.request("visit", order, timeout=timeout)[0]
        if len(seen["samples"]) not in (0, count):
            raise WorkerFault("error", f"no answer: {len(seen['samples'])} of {count} samples")
        self.probe_ns = float(seen["probe_ns"])
        if self.implementation is None:  # our own code: no other could have its probe tell lies
            self.calm.saw(seen["probe_ns"])
        return seen

    def visit(self, timeout: float, *, anyway: bool = False) -> None:
        started = time.perf_counter()
        limit = 0.0 if anyway else self.calm.limit_ns
        seen = self._samples(self.samples_a_visit, timeout, limit)
        wall = time.perf_counter() - started
        if self.rests and seen["samples"]:
            self.worker.settle()
        self.tries += 1
        least = min(seen["samples"], default=None)
        self.waits += [waited for _, _, waited, _ in seen["samples"]]
        usual = float(np.quantile(self.waits or [0.0], 0.25, method="lower"))
        allowed = min(_TIMES_WAITED * usual, _TURN_NS)
        alone = least is not None and least[2] <= max(_WAITED * least[0], allowed)
        self.disturbed += not alone or anyway
        if not (alone or anyway):
            return
        self.sampled = self.content
        self.at.append(_EPOCH + started)
        elapsed, spent, _, faults = np.array(seen["samples"], np.float64).T
        self.samples += (elapsed / self.calls).tolist()
        self.processors += (spent / np.maximum(elapsed, 1.0)).tolist()
        self.faults += (faults / self.calls).tolist()
        self.overheads.append(1e9 * wall - float(elapsed.sum()))
        used = float(spent.sum()) + seen["elsewhere_ns"]
        self.elsewhere.append(seen["elsewhere_ns"] / used if used else 0.0)

    def await_calm(self, timeout: float) -> None:
        ends = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends:
            limit = self.calm.limit_ns
            if self._samples(0, timeout)["probe_ns"] <= limit:
                return

    def count(self, timeout: float) -> None:
        """Fill in what the processor counts of a sample."""
        order = {"handle": self.handle, "calls": self.calls}
        found, _ = self.worker.request("count", order, timeout=timeout)
        self.update(**{name: events / self.calls for name, events in found.items()})

    def costs(self) -> dict[str, Any]:
        return {
            "disturbed": self.disturbed / max(1, self.tries),
            "processors_used": float(np.median(self.processors)),
            "page_faults": float(np.median(self.faults)),
        }


@dataclass(eq=False)
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
        self.update(calls_per_sample=self.calls, **reply)

    def visit(self, timeout: float, *, anyway: bool = False) -> None:
        order = {"handle": self.handle, "calls": self.calls}
        self.at.append(_EPOCH + time.perf_counter())
        seen = [
            self.worker.request("device_sample", order, timeout=timeout)[0]
            for _ in range(self.samples_a_visit)
        ]
        self.windows += [s["elapsed_ns"] for s in seen]
        self.samples += [s["elapsed_ns"] / self.calls for s in seen]
        self.after += [float(s["after_ns"]) for s in seen]

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
    """Give each worker the arguments, once, whatever number of entrants it has.

    Those that need another process for their threads start side by side.
    """
    entrants = list(entrants)
    anew = {}
    for entrant in entrants:
        if isinstance(entrant, HostEntrant) and entrant.worker.new_for(entrant.record.threads or 1):
            anew[entrant.worker.name] = entrant
    stop([e.worker for e in anew.values()])
    for entrant in anew.values():
        entrant.worker.expect_threads(entrant.record.threads or 1, bound=True)
    start([e.worker for e in anew.values()])
    for mine in by_worker(entrants):
        try:
            mine[0].place(mine, arguments, timeout)
        except WorkerFault as fault:
            end(mine, fault)


def renew(entrants: list[HostEntrant], arguments: Blocks, timeout: float, seed: str) -> None:
    """New processes for the implementations: another place in memory for code and arrays.

    The same code is a percent or two faster or slower for that alone, and no number of visits to
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


def living(group: Iterable[E], baseline: str | None) -> E | None:
    """What the others are set against: the baseline, else its control, which is the same code."""
    for name in (baseline, f"{baseline}{CONTROL_SUFFIX}"):
        for entrant in group:
            if entrant.record.implementation == name and entrant.fault is None:
                return entrant
    return None


def doubt(group: Sequence[E], baseline: E | None) -> float:
    """By how much two processes of the same code differ, as a logarithm; 0 without a control.

    The same code in another process is a percent or two faster or slower for its place in memory.
    So may the process of any entrant be, and no number of visits to it shows that; several
    processes of each do.
    """
    control = control_among(group)
    if control is None or baseline is None or baseline is control or control.record.processes:
        return 0.0
    return abs(math.log(control.ratio_to(baseline).value))


def control_among(group: Iterable[E]) -> E | None:
    """The second process of the baseline, if it was timed beside the first."""
    return next((e for e in group if e.record.role == "control" and e.fault is None), None)
