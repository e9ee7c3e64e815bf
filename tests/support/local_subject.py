"""An implementation that is judged in this process: for faults that do not end it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.executor import perform_steps
from harness.registry.contract import Metadata, read_metadata
from harness.worker import backends
from harness.worker.local import LocalImplementation


@dataclass
class LocalSubject:
    """A `target.Subject` whose calls are made in this process."""

    implementation: LocalImplementation

    @classmethod
    def from_path(cls, path: Path) -> LocalSubject:
        return cls(LocalImplementation(read_metadata(path)))

    @property
    def metadata(self) -> Metadata:
        return self.implementation.metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        function = partial(getattr, self.implementation.module())
        return perform_steps(function, backends.get(self.metadata.backend), steps)

    @contextmanager
    def fresh(self) -> Iterator[LocalSubject]:
        """The module imported anew: what it imports itself is the same as before."""
        yield LocalSubject(LocalImplementation(self.metadata))
