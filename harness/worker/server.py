"""The worker process: imports one implementation, and loads, calls and times it on request.

Run as ``python -m harness.worker.server READ_FD WRITE_FD PARENT``. It judges no values: arrays
come in and go out, and the coordinator, where no stranger's code runs, compares them with the
reference. It does watch what a call does to the process (`side_effects`), and says so in its
answer.
"""

from __future__ import annotations

import importlib
import mmap
import os
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.registry.contract import Metadata, read_metadata
from harness.worker import backends, transport
from harness.worker.backends import cores
from harness.worker.isolation.activity import wait_for_quiet
from harness.worker.isolation.guard_bytes import Guarded, guarded, guarded_array
from harness.worker.isolation.resource_limits import confine
from harness.worker.isolation.side_effects import (
    DEVICE_LEAK_BYTES,
    LEAK_BYTES,
    Vigil,
    power_of_two,
)
from harness.worker.timing import thread_pools
from harness.worker.timing.device_timer import DeviceStopwatch
from harness.worker.timing.host_timer import Reply, Stopwatch, to_arrays
from harness.worker.timing.memoization_probe import probe

_OWNERS: Mapping[str, Sequence[str]] = {
    "worker": ("load", "threads", "bind", "run", "verify"),
    "stopwatch": ("place", "prepare", "visit", "peak", "count", "output_rows", "release"),
    "device_stopwatch": (
        "device_facts", "device_place", "device_prepare", "device_sample", "device_output",
        "device_release",
    ),
}  # fmt: skip
COMMANDS = {command: owner for owner, commands in _OWNERS.items() for command in commands}
"""What a worker can be asked, and whose method of that name answers: its own, or a timer's. The
types of the answers are in `replies`, which only the coordinator needs."""

CALLING = ("run", "verify", "prepare", "visit", "peak", "count")
"""Commands in which the implementation is called, so that the process is watched."""

_FREE_RESULT = 64 << 20
_RESULT_SHARE = 8
_OUT_OF_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "std::bad_alloc", "out of memory",
    "RESOURCE_EXHAUSTED", "unable to allocate",
)  # fmt: skip
_ABSENT = (ImportError, OSError, subprocess.SubprocessError)
_OWN_FAULT = (NotImplementedError, RecursionError)


class Worker:
    """What a worker holds between two commands: the module, its stopwatch, and the watch.

    Args:
        pipes: by which commands come in and answers go out.
    """

    def __init__(self, pipes: tuple[int, int] = (-1, -1)) -> None:
        self.pid = os.getpid()
        self.pipes = pipes
        self.copies = mmap.mmap(-1, 1)  # shared with what is forked
        self.vigil: Vigil | None = None
        self.faults: list[str] = []
        self.received: list[Guarded] = []
        self.placed: list[Guarded] = []
        self.outputs: list[Callable[[], Guarded | None]] = []
        self.placed_bytes = 0
        self.timed = ""
        self._calls = Counter[Any]()
        self.module: ModuleType | None = None
        self.backend: Any = None
        self.metadata: Metadata | None = None
        self.stopwatch: Stopwatch | None = None
        self.device_stopwatch: DeviceStopwatch | None = None

    def load(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Import a module: an implementation by its path, or one of the harness by name.

        The latter may be given a `subject`, the path of an implementation that it calls.
        """
        if header.get("module"):
            self.module = importlib.import_module(header["module"])
            backend = backends.get(header.get("backend", "numpy"))
            self._watch(backend, header.get("watched", True))
            if header.get("subject"):  # an implementation that the module will call
                self.module.import_subject(header["subject"])
                self._after_import()
        else:
            from harness.worker.local import import_module

            self.metadata = read_metadata(Path(header["path"]))
            backend = backends.get(self.metadata.backend)
            self._watch(backend, True)
            self.module = import_module(self.metadata)
            self._after_import()
        if backend.device is None and (self.metadata is None or self.metadata.device == "cpu"):
            backend = replace(backend, empty_like=self._guarded_like(backend))
        self.backend = backend
        self.stopwatch = Stopwatch(self.backend, self._function)
        self.device_stopwatch = DeviceStopwatch(self.backend, self._function)
        return {"backend_version": self.backend.version()}, []

    def _after_import(self) -> None:
        """What it left is what calls begin with."""
        if self.vigil is not None:
            self.faults += self.vigil.after_import()

    def _watch(self, backend: backends.Backend, wanted: bool) -> None:
        growth = LEAK_BYTES if backend.device is None else DEVICE_LEAK_BYTES
        self.vigil = Vigil(_pool_of(backend), growth) if wanted else None

    def _guarded_like(self, backend: backends.Backend) -> Callable[[Any], Any]:
        """The backend's `empty_like`, between guards where its arrays can share our memory."""

        def empty_like(array: Any) -> Any:
            plain = backend.to_numpy(array)
            fresh, memory = guarded_array(plain.shape, plain.dtype)
            native = backend.from_numpy(fresh)
            shown = backend.to_numpy(native)
            if not (plain.size and np.shares_memory(shown, fresh)):
                return backend.empty_like(array)
            self.outputs.append(memory.while_used())
            return native

        return empty_like

    def allocate(self, nbytes: int, misalignment: int) -> NDArray[np.uint8]:
        """Memory for an array that arrives, between guards."""
        memory = guarded(nbytes, misalignment)
        self.received.append(memory)
        return memory.body

    def threads(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Set the number of threads, and say what is in force.

        With `bound`, they have as many cores: what is timed on one thread then has the same one
        as everybody else, and no neighbour of another core to thank or to blame.
        """
        self.backend.set_threads(header["count"])
        thread_pools.limit(header["count"])
        if header.get("bound"):
            self.bind(header, [])
        return {"threads": self.backend.threads()}, []

    def bind(self, header: dict[str, Any], _: list[NDArray[Any]]) -> Reply:
        """Bind the threads to so many cores."""
        if self.backend.device is None and not self.backend.pins:
            cores.bind(header["count"])
        return {}, []

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
        own = self.metadata is not None
        if own:
            _check_kind(result, native)
        results = to_arrays(self.backend, result)
        kept = results
        if own:
            # Of another size, or too many: the experiment says what is wrong with them
            judged = results if len(results) == 1 or header["operation"] == "cross_entropy" else []
            if any(r.size == a.size and np.may_share_memory(r, a) for r in judged for a in arrays):
                self.faults.append("returned a view of its input")
            # What the caller would have seen: a thread may still be writing
            kept = [_copied(r, sum(len(b) for b in before)) for r in results]
            kind = (header["operation"], *((a.shape, a.dtype) for a in arrays))
            self._calls[kind] += 1
            if power_of_two(self._calls[kind]):
                wait_for_quiet()
        modified = [a.tobytes() != b for a, b in zip(arrays, before, strict=True)]
        if any(not _same_bytes(k, r) for k, r in zip(kept, results, strict=True)):
            self.faults.append("went on writing to its result after it had returned")
        return {"input_modified": any(modified)}, kept

    def verify(self, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
        """Calls on new content, in turn with the content so far: see `memoization_probe`."""
        assert self.stopwatch is not None
        return probe(self.stopwatch, self.stopwatch.timings[header["handle"]], header, *arrays)

    def look(self, header: dict[str, Any], arrays: list[NDArray[Any]], reply: Reply) -> list[str]:
        """What the implementation has done beside answering, since the last look."""
        if os.getpid() != self.pid:  # the implementation forked, and this is the copy
            self.copies[0] = 1
            os._exit(0)
        command = header["command"]
        if command == "place":
            self.placed, self.placed_bytes = self.received, sum(a.nbytes for a in arrays)
            self.outputs.clear()
        elif command == "release":
            self.placed.clear()
            self.outputs.clear()
        faults, self.faults = self.faults, []
        if self.vigil is None:
            return faults
        if command not in CALLING:
            self.vigil.rebase()
            return faults
        if command == "run":
            shapes = tuple((a.shape, a.dtype.str) for a in arrays)
            steps = header.get("options", {}).get("steps", ())
            made = _repeated_bytes(steps, arrays)
            ways = {(s["operation"], str(s["axis"]), s["layout"], s["cast"]) for s in steps}
            kind: Any = (header["operation"], shapes, made, frozenset(ways))
            nbytes = sum(a.nbytes for a in (*arrays, *reply[1])) + made
        else:
            evictor = getattr(self.stopwatch, "evictor", None)
            sweeper = 0 if evictor is None else evictor.buffer.nbytes
            self.timed = header.get("operation", self.timed)
            kind = ("timing", self.timed, self.placed_bytes)
            nbytes = 3 * self.placed_bytes + sweeper
        memory = [("its input", g) for g in (*self.received, *self.placed)]
        outputs = [(find, g) for find in self.outputs if (g := find()) is not None]
        self.outputs = [find for find, _ in outputs]
        memory += [("its output", g) for _, g in outputs]
        faults += self.vigil.after_call(kind, nbytes, memory)
        if self.copies[0]:
            faults.append("returned twice: a process that it forked came back from the call, too")
        return faults


def _repeated_bytes(steps: Sequence[dict[str, Any]], arrays: Sequence[NDArray[Any]]) -> int:
    """Bytes of the arrays that the steps of a case make of a few rows; of float64 at most."""
    made = place = 0
    for step in steps:
        if step["tiled"]:
            axis, length = step["tiled"]
            made += 8 * length * arrays[place].size // arrays[place].shape[axis]
        place += step["arrays"]
    return made


def _pool_of(backend: backends.Backend) -> Callable[[], int | None]:
    """How many threads a library has; None while there is no pool, since its import brings one."""

    def threads() -> int | None:
        if backend.name == "numpy" and "numba" not in sys.modules:
            return None
        return backend.threads()

    return threads


def _check_kind(result: Any, native: list[Any]) -> None:
    """Refuse what is no array of the implementation's library, or lies on another device.

    Raises:
        TypeError: saying what came.
    """
    kinds: tuple[type, ...] = tuple({type(a) for a in native})
    if np.ndarray in kinds:  # of one number NumPy's functions make a scalar
        kinds += (np.generic,)
    for part in result if isinstance(result, tuple) else (result,):
        expected = " or ".join(sorted({type(a).__name__ for a in native}))
        if native and not isinstance(part, kinds):
            raise TypeError(f"expected {expected}; it returned {type(part).__name__}")
        dtype = getattr(part, "dtype", None)
        if isinstance(dtype, np.dtype) and (dtype.kind in "OSUMm" or dtype.fields is not None):
            raise TypeError(f"expected an array of numbers; it returned one of {dtype}")
        given = str(getattr(native[0], "device", None)) if native else None
        got = str(getattr(part, "device", given))
        if native and isinstance(part, type(native[0])) and got != given:
            raise TypeError(f"expected an array on device {given}; it returned one on {got}")


def _copied(result: NDArray[Any], given: int) -> NDArray[Any]:
    limit = _FREE_RESULT + _RESULT_SHARE * given
    if result.nbytes > limit:
        raise ValueError(
            f"expected a result of at most {limit} bytes for {given} bytes of arguments; "
            f"it returned shape {result.shape}, {result.nbytes} bytes"
        )
    return np.array(result, order="C")


def _same_bytes(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a is b:
        return True
    flat = np.ascontiguousarray(b).reshape(-1).view(np.uint8)
    return np.array_equal(a.reshape(-1).view(np.uint8), flat)


def _answer(worker: Worker, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Reply:
    name = header["command"]
    if name not in COMMANDS:
        raise ValueError(f"command {name!r}: expected one of {', '.join(COMMANDS)}")
    owner = COMMANDS[name]
    asked = worker if owner == "worker" else getattr(worker, owner)
    return getattr(asked, name)(header, arrays)  # type: ignore[no-any-return]


def _absent(error: BaseException | None, command: str) -> bool:
    """Whether an exception may be the environment's: a library, a compiler or a device is absent.

    Libraries say the last with a `RuntimeError`; of an import that proves nothing.
    """
    kinds = _ABSENT if command == "load" else (*_ABSENT, RuntimeError)
    return error is not None and (
        (isinstance(error, kinds) and not isinstance(error, _OWN_FAULT))
        or _absent(error.__cause__, command)
    )


def _failure(error: BaseException, command: str) -> dict[str, Any]:
    kind = "out_of_memory" if isinstance(error, MemoryError) else "error"
    if type(error).__name__ == "OutOfMemoryError":  # torch and CuPy have one each
        kind = "out_of_memory"
    message, detail = type(error).__name__, ""
    try:
        lines = traceback.format_exception_only(error)
        message = (lines[-1] if lines else repr(error)).strip()[:500]
        detail = "".join(traceback.format_exception(error))[-4000:]
    except BaseException:  # its own __str__ may do anything
        detail = "the exception could not be described"
    if any(words.lower() in message.lower() for words in _OUT_OF_MEMORY):
        kind = "out_of_memory"
    absent = kind == "error" and _absent(error, command)
    return {"failure": kind, "message": message, "traceback": detail, "absent": absent}


def serve(read_fd: int, write_fd: int) -> None:
    """Answer commands until the pipe is closed."""
    worker = Worker((read_fd, write_fd))
    while True:
        worker.received = []
        try:
            header, arrays = transport.receive(read_fd, allocate=worker.allocate)
        except transport.FrameError:
            return
        try:
            reply, results = _answer(worker, header, arrays)
            faults = worker.look(header, arrays, (reply, results))
            if faults:
                reply = {**reply, "misconduct": faults}
            transport.describe(np.empty(0))  # nothing left to import when the answer is written
            for result in results:
                transport.describe(result)
        except SystemExit:
            raise
        except BaseException as e:
            reply, results = _failure(e, str(header.get("command"))), []
            try:
                reply["misconduct"] = worker.look(header, arrays, (reply, results))
            except BaseException as broken:  # with what is left of Python
                what = type(broken).__name__
                reply["misconduct"] = [f"left a process that cannot be looked at ({what})"]
        if worker.vigil is not None:
            reply |= {"keeps": worker.vigil.kept(), "lasting": worker.vigil.goes_on}
        try:
            transport.send(write_fd, {"id": header["id"], **reply}, results)
        except BrokenPipeError:
            return
        del arrays, results


def main() -> None:
    """Serve until the coordinator is gone; the exit of an implementation is one of this process."""
    read_fd, write_fd = (os.dup(int(a)) for a in sys.argv[1:3])
    for a in sys.argv[1:3]:
        os.close(int(a))
    if not confine(int(sys.argv[3])):
        return
    try:
        serve(read_fd, write_fd)
    except SystemExit as e:  # at once: threads that were left running would hold it up
        code = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
        sys.stderr.flush()
        os._exit(code & 0xFF)
    os._exit(0)


if __name__ == "__main__":
    main()
