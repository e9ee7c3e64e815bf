"""The implementation that is judged, called in this process or in one of its own."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from harness.experiments.conformance.call import Array, Result, Step, packed, unpacked
from harness.experiments.conformance.executor import perform_steps
from harness.experiments.conformance.observation import Skip
from harness.records import Status
from harness.registry.contract import Metadata, read_metadata
from harness.registry.discovery import Implementation
from harness.worker import backends
from harness.worker.client import RemoteImplementation, WorkerFault
from harness.worker.isolation.scheduling import Share
from harness.worker.local import LocalImplementation

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Several are judged side by side: threads that wait must not spin."""

_FIRST_S = 120.0
"""The first call may take so long: it waits for compilers."""
_IMPORT_S = 120.0
COMPILERS = frozenset(
    {"numba", "torch", "jax", "tensorflow", "tinygrad", "triton", "mlx", "taichi", "cffi", "cython",
     "pythran", "subprocess", "ctypes"}
)  # fmt: skip
"""Packages whose first call may compile; a source that names none of them does not."""
_HUNG: defaultdict[Path, float] = defaultdict(float)
"""Seconds that calls of an implementation hung in this process, whoever asked."""
_CROWDED = 0.25
"""Who waited for a processor for so much of its limit is not said to hang, but asked again."""
_MOST_LONGER, _ROOM = 4.0, 1.25
"""The limit is then longer by what it waited, and some more, at most so many times."""


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

    @contextmanager
    def fresh(self) -> Iterator[LocalSubject]:
        """The module imported anew: what it imports itself is the same as before."""
        yield LocalSubject(LocalImplementation(self.metadata))


def may_compile(metadata: Metadata) -> bool:
    """Whether a first call may take minutes: its library or one that its source names compiles."""
    return metadata.backend != "numpy" or _names_a_compiler(metadata.path)


@cache
def _names_a_compiler(path: Path) -> bool:
    return bool(COMPILERS & set(re.findall(r"\w+", path.read_text("utf-8", "replace"))))


COMPILED_BY_SHAPE = frozenset({"jax"})
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
    path = subject.metadata.path
    if subject.metadata.backend in COMPILED_BY_SHAPE or not may_compile(subject.metadata):
        return subject.metadata.backend in COMPILED_BY_SHAPE
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


def limit_of(
    timeout: float, first_s: float | None, steps: int = 1, *, compiles: bool = True
) -> float:
    """Seconds that a request of so many steps may take: compiling is no hang, and may be due again.

    A new process, format, layout or shape each compile anew, about as long as at first.
    """
    if not compiles:
        return timeout
    if first_s is None:
        return max(timeout, _FIRST_S)
    return timeout + min((1 + steps) * first_s, _FIRST_S + 2 * first_s)


def crowded(share: Share, limit_s: float) -> bool:
    """Whether a limit that passed with this share of the processors was the machine's doing.

    One that sleeps or is deadlocked waits for no processor, and is told at once.
    """
    return share.waited_s > _CROWDED * max(limit_s, share.ran_s + share.waited_s)


def longer(share: Share) -> float:
    """How many times its limit one needs who had this share of the processors."""
    return min(_ROOM * (share.ran_s + share.waited_s) / max(share.ran_s, 1e-9), _MOST_LONGER)


@dataclass
class RemoteSubject:
    """An implementation in a worker process of its own, started at the first call."""

    implementation: Implementation
    worker: RemoteImplementation = field(init=False)
    first_s: float | None = field(default=None, init=False)
    """How long the first call took: what compiling takes here."""
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
        self.worker.patience_s = self.patience_s
        self.worker.hung_s = _HUNG[self.metadata.path]

    @property
    def metadata(self) -> Metadata:
        return self.implementation.metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        plain, arrays = packed(steps)
        request = {
            "operation": "perform",
            "options": {"path": str(self.metadata.path.resolve()), "steps": plain},
        }
        try:
            answer = self._answer(request, arrays, timeout)
        except WorkerFault as fault:
            answer = self._again(request, arrays, timeout, fault)
        return unpacked(Result, json.loads(answer[0].tobytes()), answer[1:])

    def _again(
        self, request: dict[str, Any], arrays: list[Array], timeout: float, fault: WorkerFault
    ) -> list[Array]:
        """The answer to the same request where the machine was too busy to judge the first.

        Raises:
            SubjectFault: there is none, and that is its own doing.
            Skip: the machine was as busy again.
        """
        if fault.status == "timeout" and crowded(fault.share, timeout):
            try:
                return self._answer(request, arrays, timeout * longer(fault.share))
            except WorkerFault as second:
                fault = second
            # Who had all the time that a quiet machine gives hangs, however many there were.
            starved = crowded(fault.share, timeout) and fault.share.ran_s < timeout
            if fault.status == "timeout" and starved:
                told = f"it waited {fault.share.waited_s:.3g} s of that for a processor"
                raise Skip(f"the machine was busy: {fault.reason}, twice; {told}") from None
        _HUNG[self.metadata.path] = self.worker.hung_s
        if fault.status == "skipped":
            raise Skip(fault.reason) from None
        raise SubjectFault(fault.status, fault.reason) from None

    def _answer(self, request: dict[str, Any], arrays: list[Array], timeout: float) -> list[Array]:
        if self.worker.pid is None:  # importing is no call, and may take longer than one
            self.worker.request("release", timeout=max(timeout, _IMPORT_S))
        started = time.perf_counter()
        steps = len(request["options"]["steps"])
        limit = limit_of(timeout, self.first_s, steps, compiles=may_compile(self.metadata))
        _, answer = self.worker.request("run", request, tuple(arrays), limit)
        if self.first_s is None:
            self.first_s = time.perf_counter() - started
        return answer

    @contextmanager
    def fresh(self) -> Iterator[RemoteSubject]:
        other = RemoteSubject(self.implementation, patience_s=self.patience_s)
        other.first_s = self.first_s
        try:
            yield other
        finally:
            other.stop()

    def stop(self) -> None:
        self.worker.stop()
