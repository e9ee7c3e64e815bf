"""The process that imports one implementation and does as it is told: load, call, time.

Run as ``python -m harness.worker READ_FD WRITE_FD``. It judges nothing: arrays come in and go
out, and the coordinator, where no stranger's code runs, compares them with the reference.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import backends, frames
from harness.implementation import Metadata, read_metadata
from harness.stopwatch import Reply, Stopwatch, to_arrays


class Worker:
    """What a worker holds between two commands: the module, and its stopwatch."""

    def __init__(self) -> None:
        self.module: ModuleType | None = None
        self.backend: Any = None
        self.metadata: Metadata | None = None
        self.stopwatch: Stopwatch | None = None

    def load(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Import a module: an implementation by its path, or a module of limits by name."""
        started = time.perf_counter_ns()
        if header.get("module"):
            self.module = importlib.import_module(header["module"])
            self.backend = backends.get("numpy")
        else:
            from harness.discovery import import_module

            self.metadata = read_metadata(Path(header["path"]))
            self.backend = backends.get(self.metadata.backend)
            self.module = import_module(self.metadata)
        self.stopwatch = Stopwatch(self.backend, self._function)
        return {
            "import_ns": time.perf_counter_ns() - started,
            "backend_version": self.backend.version(),
        }, []

    def threads(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Set the number of threads, and say what is in force."""
        self.backend.set_threads(header["count"])
        numba = sys.modules.get("numba")
        if numba is not None and self.backend.name == "numpy":
            numba.set_num_threads(min(header["count"], numba.config.NUMBA_NUM_THREADS))
        return {"threads": self.backend.threads()}, []

    def _function(self, operation: str) -> Callable[..., Any]:
        if operation == "exp" and not hasattr(self.module, "exp"):
            return self.backend.exp  # type: ignore[no-any-return]
        return getattr(self.module, operation)  # type: ignore[no-any-return]

    def run(self, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """Call an operation once on fresh arrays; say whether it changed them."""
        before = [a.tobytes() for a in arrays]
        native = [self.backend.from_numpy(a) for a in arrays]
        result = self._function(header["operation"])(*native, **header.get("options", {}))
        self.backend.synchronize()
        results = to_arrays(self.backend, result)
        modified = [a.tobytes() != b for a, b in zip(arrays, before, strict=True)]
        return {"input_modified": any(modified)}, results


_COMMANDS = ("load", "threads", "run")
_TIMING_COMMANDS = ("place", "prepare", "sample", "output_rows", "release")


def _answer(worker: Worker, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
    command = header["command"]
    if command in _COMMANDS:
        return getattr(worker, command)(header, arrays)  # type: ignore[no-any-return]
    if command in _TIMING_COMMANDS:
        return getattr(worker.stopwatch, command)(header, arrays)  # type: ignore[no-any-return]
    known = ", ".join((*_COMMANDS, *_TIMING_COMMANDS))
    raise ValueError(f"command {command!r}: expected one of {known}")


def _failure(error: BaseException) -> dict[str, Any]:
    kind = "out_of_memory" if isinstance(error, MemoryError) else "error"
    if type(error).__name__ == "OutOfMemoryError":  # torch and CuPy have one each
        kind = "out_of_memory"
    lines = traceback.format_exception_only(error)
    return {
        "failure": kind,
        "message": (lines[-1] if lines else repr(error)).strip()[:500],
        "traceback": "".join(traceback.format_exception(error))[-4000:],
    }


def serve(read_fd: int, write_fd: int) -> None:
    """Answer commands until the pipe is closed."""
    worker = Worker()
    while True:
        try:
            header, arrays = frames.receive(read_fd)
        except frames.FrameError:
            return
        try:
            reply, results = _answer(worker, header, arrays)
            frames.describe(np.empty(0))  # nothing left to import when the answer is written
        except Exception as e:
            reply, results = _failure(e), []
        try:
            frames.send(write_fd, {"id": header["id"], **reply}, results)
        except BrokenPipeError:
            return
        del arrays, results


def main() -> None:
    read_fd, write_fd = (os.dup(int(a)) for a in sys.argv[1:3])
    for a in sys.argv[1:3]:
        os.close(int(a))
    serve(read_fd, write_fd)


if __name__ == "__main__":
    main()
