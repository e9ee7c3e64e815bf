"""The process that imports one implementation and does as it is told: load, call, time.

Run as ``python -m harness.worker READ_FD WRITE_FD``. It judges nothing: arrays come in and go
out, and the coordinator, where no stranger's code runs, compares them with the reference.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import backends, frames
from harness.implementation import Metadata, read_metadata

Reply = tuple[dict[str, Any], list[NDArray[Any]]]

_CALIBRATION_NS = 200_000
_QUICK_NS = 20_000_000
_MAX_CALLS = 1_000_000


@dataclass
class Timing:
    """A call that is ready to be timed, and the result of the last one timed."""

    call: Callable[[], Any]
    output: Any = None


class Worker:
    """What a worker holds between two commands: the module, inputs in place, timings of them."""

    def __init__(self) -> None:
        self.module: ModuleType | None = None
        self.backend: Any = None
        self.metadata: Metadata | None = None
        self.arguments: list[Any] = []
        self.timings: dict[str, Timing] = {}

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

    def _results(self, result: Any) -> list[NDArray[Any]]:
        parts = result if isinstance(result, tuple) else (result,)
        return [np.asarray(self.backend.to_numpy(p)) for p in parts]

    def run(self, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """Call an operation once on fresh arrays; say whether it changed them."""
        before = [a.tobytes() for a in arrays]
        native = [self.backend.from_numpy(a) for a in arrays]
        result = self._function(header["operation"])(*native, **header.get("options", {}))
        self.backend.synchronize()
        results = self._results(result)
        modified = [a.tobytes() != b for a, b in zip(arrays, before, strict=True)]
        return {"input_modified": any(modified)}, results

    def place(self, _: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """Keep inputs for the timings to come, in place of those kept before."""
        self.release({}, [])
        self.arguments = [self.backend.from_numpy(a) for a in arrays]
        return {}, []

    def prepare(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Make the first call of a timing on the inputs in place, warm up and calibrate.

        The output is allocated and touched beforehand unless the call is to allocate its own.
        The reply's `calls` makes a sample at least `min_sample_ns` long.
        """
        function = self._function(header["operation"])
        options = dict(header.get("options", {}))
        if not header["allocating"]:
            options["out"] = self.backend.empty_like(self.arguments[0])
            self.backend.prefault(options["out"])
        timing = Timing(functools.partial(function, *self.arguments, **options))
        self.timings[header["handle"]] = timing
        first = self._time(timing, 1)
        end_of_warm_up = time.perf_counter_ns() + int(header["warm_up_ns"])
        calls = 1
        per_call = float(self._time(timing, 1))
        # The fastest of several: an interruption must not pass for a slow function.
        for _i in range(3):
            if per_call < _QUICK_NS:
                per_call = min(per_call, self._time(timing, 1))
        while calls * per_call < _CALIBRATION_NS and calls < _MAX_CALLS:
            calls *= 4
            per_call = min(per_call, self._time(timing, calls) / calls)
        while time.perf_counter_ns() < end_of_warm_up:
            per_call = min(per_call, self._time(timing, calls) / calls)
        needed = int(np.ceil(header["min_sample_ns"] / max(per_call, 1.0)))
        return {"first_call_ns": first, "calls": max(1, min(needed, _MAX_CALLS))}, []

    def _time(self, timing: Timing, calls: int) -> int:
        call, synchronize = timing.call, self.backend.synchronize
        timing.output = result = None
        enabled = gc.isenabled()
        gc.disable()
        try:
            started = time.perf_counter_ns()
            for _ in itertools.repeat(None, calls):
                result = call()
            synchronize()
            elapsed = time.perf_counter_ns() - started
        finally:
            if enabled:
                gc.enable()
        timing.output = result
        return elapsed

    def sample(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """One sample of `calls` calls, after `warm` calls that are not counted.

        Also how often the system took a processor away from one of its threads meanwhile.
        """
        timing = self.timings[header["handle"]]
        if header["warm"]:
            self._time(timing, header["warm"])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        elapsed = self._time(timing, header["calls"])
        preempted = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
        return {"elapsed_ns": elapsed, "preempted": preempted}, []

    def output_rows(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Rows of the last timed call's output, for the accuracy gate; its shape and dtype."""
        result = self._results(self.timings[header["handle"]].output)[0]
        reply = {"shape": list(result.shape), "dtype": result.dtype.name}
        rows = np.asarray(header["rows"])
        fits = result.ndim == 2 and rows.max() < len(result)
        return reply, [result[rows]] if fits else []

    def release(self, _: dict[str, Any], __: list[NDArray[Any]]) -> Reply:
        """Drop the inputs, outputs and timings."""
        self.timings = {}
        self.arguments = []
        return {}, []


_COMMANDS = (
    "load", "threads", "run", "place", "prepare", "sample", "output_rows", "release",
)  # fmt: skip


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
        command = header["command"]
        try:
            if command not in _COMMANDS:
                raise ValueError(f"command {command!r}: expected one of {', '.join(_COMMANDS)}")
            reply, results = getattr(worker, command)(header, arrays)
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
