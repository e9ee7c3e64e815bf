"""The processor's own counters: instructions, cycles and cache misses, by Linux's perf_event_open.

How many instructions a call takes does not depend on who else is busy: a figure of speed without
noise, where the machine has counters. Virtual machines and containers mostly have none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

EVENTS: Mapping[str, tuple[int, int]] = {
    "cycles": (0, 0), "instructions": (0, 1), "cache_misses": (0, 3),
}  # fmt: skip
"""Type and number of each event, by perf_event_open(2)."""

_SYSCALLS = {"x86_64": 298, "aarch64": 241}
_ATTRIBUTES = struct.Struct("<IIQQQQQ")
_SIZE = 64
"""Bytes of the first version of the kernel's perf_event_attr, whose other fields are 0."""
_DISABLED_NO_KERNEL = 1 << 0 | 1 << 5 | 1 << 6
_ENABLE, _DISABLE = 0x2400, 0x2401
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")


def _open(event: tuple[int, int], thread: int) -> int:
    """A counter of one thread, in user mode, not running yet.

    Raises:
        OSError: the system has none.
    """
    number = _SYSCALLS.get(platform.machine()) if platform.system() == "Linux" else None
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    kind, config = event
    attributes = _ATTRIBUTES.pack(kind, _SIZE, config, 0, 0, 0, _DISABLED_NO_KERNEL)
    library = ctypes.CDLL(None, use_errno=True)
    found = library.syscall(number, attributes.ljust(_SIZE, b"\0"), thread, -1, -1, 0)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(found)


@cache
def unavailable() -> str | None:
    """Why there are no counters here, and what to do; None where there are."""
    try:
        for event in EVENTS.values():
            os.close(_open(event, 0))
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EPERM):
            level = _PARANOID.read_text().strip() if _PARANOID.exists() else "unknown"
            return (
                f"not available here: not allowed (perf_event_paranoid is {level}; "
                "'sysctl kernel.perf_event_paranoid=2' and no seccomp filter allow them)"
            )
        if e.errno == errno.ENOSYS:
            return "not available here: this system has no perf_event_open"
        return "not available here: the machine passes none on, as most virtual ones"
    return None


def count(
    work: Callable[[], object], events: Mapping[str, tuple[int, int]] = EVENTS
) -> dict[str, int]:
    """How often each event occurs in `work`, in user mode, in all threads that run already.

    Raises:
        OSError: the system has no such counters.
    """
    import fcntl  # POSIX alone

    with ExitStack() as opened:
        counters: list[tuple[str, int]] = []
        for thread in map(int, os.listdir("/proc/self/task")):
            for name, event in events.items():
                with suppress(ProcessLookupError):  # the thread has ended
                    counter = _open(event, thread)
                    opened.callback(os.close, counter)
                    counters.append((name, counter))
        for _, counter in counters:
            fcntl.ioctl(counter, _ENABLE, 0)
        work()
        for _, counter in counters:
            fcntl.ioctl(counter, _DISABLE, 0)
        found = dict.fromkeys(events, 0)
        for name, counter in counters:
            found[name] += int.from_bytes(os.read(counter, 8), "little")
        return found
