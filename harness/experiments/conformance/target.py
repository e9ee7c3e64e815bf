"""The implementation that is judged, called in a process of its own."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.experiments.conformance.call import Result, Step, packed, unpacked
from harness.experiments.conformance.observation import Skip
from harness.records import Status
from harness.registry.contract import Metadata
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.worker.compiling import may_compile

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Several are judged side by side: threads that wait must not spin."""

_HUNG: defaultdict[Path, float] = defaultdict(float)
"""Seconds that calls of an implementation hung in this process, whoever asked."""


class SubjectFault(RuntimeError):
    """No answer came at all: the process died, hung, or could not be started.

    Attributes:
        status: as a record has it (``"crashed"``, ``"timeout"``, ``"out_of_memory"``, ...).
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status


class Subject(Protocol):
    """An implementation under judgement.

    Attributes:
        metadata: what it says of itself.
    """

    @property
    def metadata(self) -> Metadata: ...

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        """One result a step, in order.

        Raises:
            SubjectFault: the process crashed, hung or ran out of memory.
        """
        ...

    def fresh(self) -> AbstractContextManager[Subject]:
        """The same implementation in a process that has made no call yet."""
        ...


COMPILED_BY_SHAPE = frozenset({"jax", "tinygrad"})
"""Backends that compile an operation for every shape and axis that they meet."""
_COMPILED_S, _TIMES_AS_LONG = 0.02, 20.0
"""A first call of a shape compiles if it takes so long, and so many times as long as the next."""
_COMPILING: dict[Path, bool] = {}


def compiles_every_shape(subject: Subject, steps: Sequence[Step], timeout: float) -> bool:
    """Whether an implementation compiles for every shape that it meets: known, or measured.

    Args:
        steps: the operation on arrays of shapes of their own. The first may wait for an import or
            a compiler, whatever its shape; each of the others is compared with its repetitions.
    """
    path, known = subject.metadata.path, subject.metadata.backend in COMPILED_BY_SHAPE
    if known or not may_compile(subject.metadata):
        return known
    if path not in _COMPILING:
        _COMPILING[path] = True
        for step in (steps[0], *steps):
            took = []
            for _ in range(3):
                started = time.perf_counter()
                subject.perform([step], timeout)
                took.append(time.perf_counter() - started)
            if step is not steps[0] and took[0] < max(_COMPILED_S, _TIMES_AS_LONG * min(took[1:])):
                _COMPILING[path] = False
                break
    return _COMPILING[path]


@dataclass
class RemoteSubject:
    """An implementation in a worker process of its own, started at the first call."""

    implementation: Implementation
    worker: RemoteImplementation = field(init=False)
    patience_s: float = 1e9
    """Seconds that calls may hang, all together and in all units that this process judges."""

    def __post_init__(self) -> None:
        self.worker = RemoteImplementation(
            f"{self.implementation.name} (conformance)",
            {
                "module": "harness.experiments.conformance.executor",
                "subject": str(self.implementation.metadata.path.resolve()),
            },
            _WAITING,
        )
        self.worker.compiles = may_compile(self.metadata)
        self.worker.patience_s = self.patience_s
        self.worker.hung_s = _HUNG[self.metadata.path]

    @property
    def metadata(self) -> Metadata:
        return self.implementation.metadata

    @property
    def pid(self) -> int | None:
        return self.worker.pid

    @property
    def first_s(self) -> float | None:
        """How long the first call took: what compiling takes here. None before it."""
        return self.worker.first_s

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        plain, arrays = packed(steps)
        request = {
            "operation": "perform",
            "options": {"path": str(self.metadata.path.resolve()), "steps": plain},
        }
        try:
            _, answer = self.worker.call(request, tuple(arrays), timeout, len(plain))
        except WorkerFault as fault:
            _HUNG[self.metadata.path] = self.worker.hung_s
            if fault.status == "skipped":
                raise Skip(fault.reason) from None
            raise SubjectFault(fault.status, fault.reason) from None
        return unpacked(Result, json.loads(answer[0].tobytes()), answer[1:])

    @contextmanager
    def fresh(self) -> Iterator[RemoteSubject]:
        other = RemoteSubject(self.implementation, patience_s=self.patience_s)
        other.worker.first_s = self.worker.first_s
        try:
            yield other
        finally:
            other.stop()

    def stop(self) -> None:
        self.worker.stop()
