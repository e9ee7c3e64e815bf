"""The implementation that is judged, called in this process or in one of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.experiments.conformance.call import Result, Step, packed, unpacked
from harness.experiments.conformance.executor import perform_steps
from harness.records import Status
from harness.registry.contract import Metadata, read_metadata
from harness.registry.discovery import Implementation
from harness.worker import backends
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.worker.local import LocalImplementation

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Several are judged side by side: threads that wait must not spin."""

_FIRST_S = 120.0
"""The first call may take so long: it waits for compilers."""
_IMPORT_S = 120.0
_PATIENCE = 5
"""Hangs after which nothing more is asked."""


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


@dataclass
class LocalSubject:
    """An implementation in this process: for tests, and where nothing strange is expected."""

    implementation: LocalImplementation

    @classmethod
    def from_path(cls, path: Path) -> LocalSubject:
        return cls(LocalImplementation(read_metadata(path)))

    @property
    def metadata(self) -> Metadata:
        return self.implementation.metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        module = self.implementation.module()
        return perform_steps(
            lambda name: getattr(module, name),
            backends.get(self.metadata.backend),
            steps,
        )


def limit_of(timeout: float, first_s: float | None) -> float:
    """Seconds that a request may take: compiling is no hang, and may be due again.

    A new process, a new format and a new layout each compile anew, about as long as at first.
    """
    return max(timeout, _FIRST_S) if first_s is None else timeout + 2.0 * first_s


@dataclass
class RemoteSubject:
    """An implementation in a worker process of its own, started at the first call."""

    implementation: Implementation
    worker: RemoteImplementation = field(init=False)
    first_s: float | None = field(default=None, init=False)
    """How long the first call took: what compiling takes here."""
    hangs: int = field(default=0, init=False)
    """How often it did not come back: each costs its whole limit."""

    def __post_init__(self) -> None:
        self.worker = RemoteImplementation(
            f"{self.implementation.name} (conformance)",
            {
                "module": "harness.experiments.conformance.executor",
                "subject": str(self.implementation.metadata.path.resolve()),
            },
            _WAITING,
        )

    @property
    def metadata(self) -> Metadata:
        return self.implementation.metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        plain, arrays = packed(steps)
        options = {"path": str(self.metadata.path.resolve()), "steps": plain}
        if self.hangs >= _PATIENCE:
            raise SubjectFault("timeout", f"not tried: it hung {self.hangs} times before")
        try:
            if self.worker.pid is None:  # importing is no call, and may take longer than one
                self.worker.request("release", timeout=max(timeout, _IMPORT_S))
            started = time.perf_counter()
            limit = limit_of(timeout, self.first_s)
            _, answer = self.worker.request(
                "run", {"operation": "perform", "options": options}, tuple(arrays), limit
            )
            if self.first_s is None:
                self.first_s = time.perf_counter() - started
        except WorkerFault as fault:
            self.hangs += fault.status == "timeout"
            raise SubjectFault(fault.status, fault.reason) from None
        return unpacked(Result, json.loads(answer[0].tobytes()), answer[1:])

    def stop(self) -> None:
        self.worker.stop()
