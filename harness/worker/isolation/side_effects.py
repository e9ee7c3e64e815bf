"""Finds side effects of a call: changed state, stray threads and processes, leaks, wild writes.

After every call: has the state of the process changed, is anything left running, was anything
written where it should not have been, do resources go on growing? Each finding is a phrase that
completes "it ...". The coordinator makes the record and replaces the worker.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.worker.isolation.guard_bytes import Guarded
from harness.worker.isolation.process_state import STEADY, Reader

LEAK_BYTES = 64 << 20
DEVICE_LEAK_BYTES = 512 << 20
"""Where arrays live on a device: the host's memory then grows with every kernel that the driver
loads or a compiler makes, whoever is called next; arrays are not in it."""
LEAK_ARGUMENTS = 4
LEAK_DESCRIPTORS = 32
LEAK_THREADS = 64
_SETTLED_CALLS = 3
_PAUSE_S = 0.0002
_QUIET_S = 0.005
_CROWDED_S = 0.25
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OWN_THREADS = ("evictor",)
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
"""Folders of installed libraries; the second is Debian's, and that of many images with CUDA."""
_STANDARD = os.path.dirname(os.__file__) + os.sep


def _usage() -> tuple[int, int]:
    """(resident bytes, threads) of this process."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[21]) * _PAGE, int(fields[17])


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _python_threads() -> set[int]:
    return set(sys._current_frames())


def _accounted_for(idents: set[int]) -> set[int]:
    """Those threads of Python that are the harness's own, or services of an installed library.

    Compilers keep such threads. Whose a thread is, is decided by what it was started on.
    """
    frames = sys._current_frames()
    known = {t.ident or 0 for t in threading.enumerate() if t.name.startswith(_OWN_THREADS)}
    for ident in idents - known:
        frame, home = frames.get(ident), ""
        while frame is not None:  # outwards
            if not _is_standard(frame.f_code.co_filename):
                home = frame.f_code.co_filename
            frame = frame.f_back
        if ident not in frames or _installed(home):
            known.add(ident)
    return known


def _is_standard(file: str) -> bool:
    return file.startswith(("<frozen ", _STANDARD)) and not _installed(file)


def _installed(text: str) -> bool:
    return any(folder in text for folder in _INSTALLED)


def _executors() -> list[weakref.ref[Any]]:
    """The executors of threads that exist. They start their threads when they are first used."""
    kind = getattr(sys.modules.get("concurrent.futures.thread"), "ThreadPoolExecutor", None)
    if not isinstance(kind, type):
        return []
    return [weakref.ref(o) for o in gc.get_objects() if issubclass(type(o), kind)]


def _threads_of(executors: Iterable[weakref.ref[Any]]) -> set[int]:
    alive = [executor for reference in executors if (executor := reference()) is not None]
    return {thread.ident or 0 for executor in alive for thread in executor._threads.copy()}


def _children() -> list[int]:
    """Children of this process, running or dead, that nobody waited for.

    Not the services of an installed library, such as the processes of a compiler, nor those of
    multiprocessing, which compute nothing; but what its fork server has forked, which may.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    tracker = _service("resource_tracker", "_resource_tracker", "_pid")
    server = _service("forkserver", "_forkserver", "_forkserver_pid")
    found = [pid for pid in _children_of("self") if pid not in (tracker, server)]
    if server is not None:
        found += _children_of(str(server))
    return [pid for pid in found if not _is_service(pid)]


def _service(module: str, variable: str, attribute: str) -> int | None:
    """The process of a service of multiprocessing, as that itself knows it; None if there is none.

    By their command lines a fork server and what it has forked are the same.
    """
    service = getattr(sys.modules.get(f"multiprocessing.{module}"), variable, None)
    pid = getattr(service, attribute, None)
    return pid if isinstance(pid, int) else None


def _children_of(process: str) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_bytes().split())
    return found


def _left_behind(children: list[int]) -> str:
    several = f"{len(children)} child processes" if len(children) > 1 else "a child process"
    return f"left {several} behind"


def _is_service(pid: int) -> bool:
    try:
        return _installed(Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace"))
    except OSError:
        return False


def _others() -> tuple[bool, int | None]:
    """Whether threads of this process other than the caller's run or want to; what they have had.

    The latter is their time on processors in ns, None where the system does not tell.
    """
    own, running = str(threading.get_native_id()), False
    had: int | None = None
    with contextlib.suppress(OSError):
        for task in os.scandir("/proc/self/task"):
            if task.name != own:
                with contextlib.suppress(OSError), open(f"{task.path}/stat", "rb") as file:
                    running |= file.read().rpartition(b")")[2].split(None, 1)[0] == b"R"
                with contextlib.suppress(OSError), open(f"{task.path}/schedstat", "rb") as file:
                    had = (had or 0) + int(file.read().split()[0])
    return running, had


def wait_for_quiet(seconds: float = _QUIET_S, longest: float = _CROWDED_S) -> None:
    """Wait until no other thread of this process runs; at most until they had so many seconds.

    On a crowded machine one that wants to run may have to wait itself: then longer, to `longest`.
    """
    started = time.monotonic()
    running, before = _others()
    while running and (passed := time.monotonic() - started) < longest:
        time.sleep(_PAUSE_S)
        running, had = _others()
        if passed >= seconds if before is None or had is None else had - before >= 1e9 * seconds:
            return


@dataclass
class Vigil:
    """The watch over one implementation; begin it before the implementation is imported.

    Args:
        threads: how many threads its array library uses.
        leak_bytes: what resident memory may grow by, beyond some times the arguments.
    """

    threads: Callable[[], int | None] | None = None
    leak_bytes: int = LEAK_BYTES
    _calls: int = 0
    _calls_of: Counter[Hashable] = field(default_factory=Counter)
    _settled: dict[Hashable, int] = field(default_factory=dict)  # resident bytes, by kind
    _first_descriptors: int = 0
    _first_threads: int = 0
    _executors: list[weakref.ref[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = Reader(self.threads)
        self.rebase()

    def rebase(self) -> None:
        """Take the state as it is now for the right one: the harness has changed it."""
        self._state = self._reader.read()
        self._python = _python_threads()
        self._modules = len(sys.modules)

    def after_import(self) -> list[str]:
        """What importing the implementation did that it must not; the rest is no call's fault.

        Threads that it started may stay, and so may those that its executors will start. Other
        processes may not: they would compute where no limit of threads and no clock of this
        process reaches them.
        """
        time.sleep(_PAUSE_S)  # what was started has no frame before it had the interpreter once
        wait_for_quiet()
        now = self._reader.read()
        changes = self._reader.changes(self._state, now, imported=True)
        found = [f"changed {c}" for c in changes if c.removeprefix("the ").startswith(STEADY)]
        if children := _children():
            found.append(_left_behind(children))
        self.rebase()
        self._executors = _executors()
        return [f"{what} while it was imported" for what in found]

    def after_call(
        self, kind: Hashable, nbytes: int, guarded: Iterable[tuple[str, Guarded]]
    ) -> list[str]:
        """What a call did that it must not; nothing found is an empty list.

        Args:
            kind: calls of one kind have inputs of one shape and should use the same memory.
            nbytes: of its arguments and results.
            guarded: the memory that it was given, with a name for each.
        """
        self._calls += 1
        now = self._reader.read()
        imported = len(sys.modules) > self._modules
        found = [f"changed {c}" for c in self._reader.changes(self._state, now, imported)]
        for what, memory in guarded:
            broken = memory.broken()
            if broken is not None:
                found.append(f"wrote outside of {what}: {broken}")
        new = _python_threads() - self._python
        if new and (new := new - _accounted_for(new) - _threads_of(self._executors)):
            found.append(f"left {len(new)} thread{'s' if len(new) > 1 else ''} of Python running")
        if children := _children():
            found.append(_left_behind(children))
        found += self._leaks(kind, nbytes)
        if imported and not found:
            self._state, self._modules = now, len(sys.modules)
        return found

    def _leaks(self, kind: Hashable, nbytes: int) -> list[str]:
        found: list[str] = []
        resident, threads = _usage()
        descriptors = _descriptors()
        if self._calls <= _SETTLED_CALLS:
            self._first_descriptors, self._first_threads = descriptors, threads
        elif descriptors > self._first_descriptors + LEAK_DESCRIPTORS:
            found.append(
                f"leaks file descriptors: {descriptors} are open after {self._calls} calls, "
                f"{self._first_descriptors} after the first {_SETTLED_CALLS}"
            )
        if threads > self._first_threads + LEAK_THREADS + 2 * (os.cpu_count() or 1):
            found.append(
                f"leaks threads: {threads} exist after {self._calls} calls, "
                f"{self._first_threads} after the first {_SETTLED_CALLS}"
            )
        self._calls_of[kind] += 1
        calls = self._calls_of[kind]
        allowed = self.leak_bytes + LEAK_ARGUMENTS * nbytes
        if calls <= _SETTLED_CALLS:
            self._settled[kind] = resident
        elif resident > self._settled[kind] + allowed:
            gc.collect()
            grown = _usage()[0] - self._settled[kind]
            if grown > allowed:
                found.append(
                    f"leaks memory: {grown >> 20} MiB more after {calls} calls than after "
                    f"{_SETTLED_CALLS}, on {nbytes >> 10} KiB of arguments and results"
                )
        return found
