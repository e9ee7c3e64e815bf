"""Finds side effects of a call: changed state, work that goes on, leaks, wild writes.

After every call: has the state of the process changed, was anything written where it should not
have been, do resources go on growing, does anything go on working? Each finding is a phrase that
completes "it ...". The coordinator makes the record and replaces the worker.

Threads and processes that a library keeps and that wait for work are no fault but a note.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.worker.isolation.activity import descendants, wait_for_quiet
from harness.worker.isolation.guard_bytes import Guarded
from harness.worker.isolation.process_state import STEADY, Reader

LEAK_BYTES = 64 << 20
DEVICE_LEAK_BYTES = 512 << 20
"""Where arrays live on a device: the host's memory then grows with every kernel that the driver
loads or a compiler makes, whoever is called next; arrays are not in it."""
LEAK_ARGUMENTS = 4
LEAK_DESCRIPTORS = 32
LEAK_THREADS = 64 + 2 * (os.cpu_count() or 1)
LEAK_PROCESSES = 16 + 2 * (os.cpu_count() or 1)
"""More than a pool of threads, or of processes, has when it is full."""
GOES_ON_S, PATIENCE_S = 5.0, 8.0
"""Processor time that threads of a process may have after calls before all is quiet, and how long
is waited for that at a time. One that starts and imports a large library takes some seconds."""
_SETTLED_CALLS = 3
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OWN_THREADS = ("evictor",)


def _usage() -> tuple[int, int]:
    """(resident bytes, threads) of this process."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[21]) * _PAGE, int(fields[17])


def give_back() -> None:
    """Hand all freed memory to the system, where the C library can: workers keep it otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _python_threads() -> int:
    """How many threads of Python there are, without the harness's own."""
    own = sum(t.name.startswith(_OWN_THREADS) for t in threading.enumerate())
    return len(sys._current_frames()) - own


def power_of_two(count: int) -> bool:
    """Whether it is the 1st, 2nd, 4th, 8th, ... time: for looks that take time."""
    return count & (count - 1) == 0


@dataclass
class Vigil:
    """The watch over one implementation; begin it before the implementation is imported.

    Attributes:
        threads: how many threads its array library uses.
        leak_bytes: what resident memory may grow by, beyond some times the arguments.
        goes_on: whether something was found to go on working, which a new process does as well.
    """

    threads: Callable[[], int | None] | None = None
    leak_bytes: int = LEAK_BYTES
    goes_on: bool = False
    _calls: int = 0
    _calls_of: Counter[Hashable] = field(default_factory=Counter)
    _settled: dict[Hashable, int] = field(default_factory=dict)  # resident bytes, by kind
    _programs: int = 0
    """By what the first calls of kinds have grown: what compiles keeps a program for each."""
    _after: Counter[str] = field(default_factory=Counter)  # ns on processors after calls
    _first: Counter[str] = field(default_factory=Counter)
    _most_kept: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._reader = Reader(self.threads)
        self._python = _python_threads()
        self._resident, _ = _usage()
        self.rebase()

    def rebase(self) -> None:
        """Take the state as it is now for the right one: the harness has changed it."""
        self._state = self._reader.read()
        self._modules = len(sys.modules)

    def after_import(self) -> list[str]:
        """What importing the implementation did that it must not; the rest is no call's fault."""
        wait_for_quiet()
        now = self._reader.read()
        changes = self._reader.changes(self._state, now, imported=True)
        found = [f"changed {c}" for c in changes if c.removeprefix("the ").startswith(STEADY)]
        self.rebase()
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
        if power_of_two(self._calls) and not wait_for_quiet(GOES_ON_S, PATIENCE_S, self._after):
            self.goes_on = True
            found.append(
                f"goes on working after its call: threads had {GOES_ON_S:g} s of processor time "
                f"since, and still run"
            )
        found += self._leaks(kind, nbytes)
        if imported and not found:
            self._state, self._modules = now, len(sys.modules)
        return found

    def kept(self) -> str:
        """What it keeps between calls, at most so far, such as ``"1 thread of Python"``."""
        return " and ".join(
            f"{n} {one if n == 1 else several}"
            for (one, several), n in self._most_kept.items()
            if n > 0
        )

    def _leaks(self, kind: Hashable, nbytes: int) -> list[str]:
        resident, threads = _usage()
        now = Counter(
            {"file descriptors": len(os.listdir("/proc/self/fd")), "threads": threads,
             "child processes": len(descendants())}
        )  # fmt: skip
        most = {"file descriptors": LEAK_DESCRIPTORS, "threads": LEAK_THREADS,
                "child processes": LEAK_PROCESSES}  # fmt: skip
        self._most_kept |= Counter(
            {("thread of Python", "threads of Python"): _python_threads() - self._python,
             ("child process", "child processes"): now["child processes"]}
        )  # fmt: skip
        if self._calls <= _SETTLED_CALLS:
            self._first = now
        found = [
            f"leaks {what}: {now[what]} after {self._calls} calls, {self._first[what]} after "
            f"the first {_SETTLED_CALLS}"
            for what, more in most.items()
            if now[what] > self._first[what] + more
        ]
        self._calls_of[kind] += 1
        calls = self._calls_of[kind]
        allowed = self.leak_bytes + LEAK_ARGUMENTS * nbytes
        if calls <= _SETTLED_CALLS:
            self._programs += max(0, resident - self._resident - LEAK_ARGUMENTS * nbytes)
            self._settled[kind] = resident - self._programs
        elif resident > self._programs + self._settled[kind] + allowed:
            give_back()
            grown = _usage()[0] - self._programs - self._settled[kind]
            if grown > allowed:
                found.append(
                    f"leaks memory: {grown >> 20} MiB more after {calls} calls than after "
                    f"{_SETTLED_CALLS}, on {nbytes >> 10} KiB of arguments and results"
                )
        self._resident = resident
        return found
