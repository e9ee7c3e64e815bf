"""Tells whether other threads of this process, and processes below it, are working."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections import Counter
from pathlib import Path

_PAUSE_S = 0.0002
_QUIET_S = 0.005
_CROWDED_S = 0.25
_BUSY = 0.25
"""Who had this part of a pause on a processor is at work. Who waits for the interpreter's lock,
which the looker holds, seldom shows as one that runs."""
_LASTING = 0.4
"""Many threads that wait for work by spinning use up processor time quickly, but not for long."""
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

# Bound before any implementation is imported, as the clocks of the timings are
_clock, _sleep, _usage = time.monotonic, time.sleep, resource.getrusage


def descendants() -> list[int]:
    """The processes below this one, running or dead, that nobody waited for."""
    with contextlib.suppress(ChildProcessError):  # which is quickly told
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        found = _children("self")
        for pid in found:  # grows
            found += _children(str(pid))
        return found
    return []


def _children(process: str) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_bytes().split())
    return found


def tasks(process: str) -> dict[int, tuple[bool, int]]:
    """Of each thread: whether it runs or wants to, and the processor time it has had, ns."""
    found = {}
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{process}/task"):
            with contextlib.suppress(OSError):
                stat = Path(task.path, "stat").read_bytes().rpartition(b")")[2].split()
                try:
                    had = int(Path(task.path, "schedstat").read_bytes().split()[0])
                except OSError:  # a kernel without it: in ticks
                    had = _TICK_NS * (int(stat[11]) + int(stat[12]))
                found[int(task.name)] = stat[0] == b"R", had
    return found


def _others() -> dict[tuple[str, int], tuple[bool, int]]:
    """`tasks` of this process without the caller's thread, and of the processes below it."""
    own = "self", threading.get_native_id()
    return {
        (process, task): state
        for process in ("self", *map(str, descendants()))
        for task, state in tasks(process).items()
        if (process, task) != own
    }


def processes_ns() -> int:
    """Processor time that the processes below this one have had, and those it waited for, ns."""
    ended = _usage(resource.RUSAGE_CHILDREN)
    living = sum(had for pid in descendants() for _, had in tasks(str(pid)).values())
    return round(1e9 * (ended.ru_utime + ended.ru_stime)) + living


def wait_for_quiet(
    seconds: float = _QUIET_S, longest: float = _CROWDED_S, had_before: Counter[str] | None = None
) -> bool:
    """Wait until nothing else runs, or that of one process has had so many seconds on processors.

    On a crowded machine one that wants to run may have to wait itself: no longer than `longest`.

    Args:
        had_before: time that processes had in earlier waits, ns, which counts as well; is brought
            up to date, and empty again where all is quiet.

    Returns:
        False where one has had them, and still runs after `_LASTING` times as long at least.
    """
    waits = Counter[str]() if had_before is None else had_before
    started = at = _clock()
    now = _others()
    while True:
        _sleep(_PAUSE_S)
        (before, since), (now, at) = (now, at), (_others(), _clock())
        busy = set()
        for (process, task), (running, had) in now.items():
            more = had - before.get((process, task), (False, 0))[1]
            waits[process] += more
            if running or more > _BUSY * 1e9 * (at - since):
                busy.add(process)
        passed = at - started
        if passed >= _LASTING * seconds and any(waits[p] >= 1e9 * seconds for p in busy):
            return False
        if not busy:
            waits.clear()
        if not busy or passed >= longest:
            return True
