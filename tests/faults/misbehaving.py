"""Implementations that misbehave, and calls of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.worker.client import RemoteImplementation, WorkerFault

HEADER = "import ctypes, os, signal, sys, threading, time\nimport numpy as np\n"
X = np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(4, 6)

MakeWorker = Callable[..., RemoteImplementation]


def source(body: str, top: str = "") -> str:
    """A module whose softmax has this body; `top` is executed when it is imported."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f'"""A subject."""\n{HEADER}{top}\n\ndef softmax(x, axis=-1, out=None):\n{lines}'


def workers(tmp_path: Path) -> Iterator[MakeWorker]:
    """A fixture: makes a worker for an implementation with a given body, ended after the test."""
    made: list[RemoteImplementation] = []

    def make(body: str, top: str = "") -> RemoteImplementation:
        path = tmp_path / f"subject{len(made)}.py"
        path.write_text(source(body, top), encoding="utf-8")
        made.append(RemoteImplementation("subject", {"path": str(path)}))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


def call(worker: RemoteImplementation, x: np.ndarray = X, timeout: float = 60.0) -> np.ndarray:
    """One call of softmax in a worker."""
    (y,) = worker.request("run", {"operation": "softmax"}, (x,), timeout=timeout)[1]
    return y


def fault_of(worker: RemoteImplementation, x: np.ndarray = X, timeout: float = 60.0) -> WorkerFault:
    """The fault that one call of softmax ends in."""
    with pytest.raises(WorkerFault) as caught:
        call(worker, x, timeout)
    return caught.value
