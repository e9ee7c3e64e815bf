"""Limits that a worker sets for itself before a stranger's code is loaded, and its memory's share.

Nothing here is a sandbox (SECURITY.md). It keeps accidents small: a process that outlives the run,
an allocation without bound that takes the coordinator down, a core dump of gigabytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from functools import cache
from pathlib import Path

from harness.machine.sysfs import memory_limit

LIMIT_VARIABLE = "SOFTMAX_BENCH_WORKER_MEMORY"
WORKER_SHARE = 0.75
REPLY_SHARE = 0.5
_LEAST = 1 << 30
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, whatever holds the interpreter.

    The parent is the *thread* that started it (prctl(2)): `subprocesses` starts every worker
    from one that lives as long as its process.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def limit_memory(limit: int | None) -> None:
    """Make allocations beyond `limit` bytes fail, where the caller can still say so.

    RLIMIT_DATA rather than RLIMIT_AS: it counts private writable mappings, and not the address
    space that device drivers and threads reserve without using it.
    """
    if limit is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def confine(parent: int) -> bool:
    """Everything of this module, for the process whose parent is `parent`; False if that is gone.

    A process that the implementation forks is tied to its parent in the same way.
    """
    die_with_parent()
    if os.getppid() != parent:  # it died before the tie
        return False
    os.register_at_fork(after_in_child=die_with_parent)
    # Be the parent of what is left below us when its own parent ends: so a program that detaches
    # itself, as daemons do, is seen as a child that was left behind (`side_effects`), and is found
    # when this process is ended, whatever session it went to
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    limit_memory(worker_limit())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # the kernel's choice when memory ends: us, not the run
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    return True


@cache
def total_memory() -> int:
    """Bytes of memory that this process and all others of its container can have together."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit()
    return physical if limit is None else min(physical, limit)


def worker_limit() -> int | None:
    """Bytes of writable memory that one worker may map; None for no limit.

    `WORKER_SHARE` of `total_memory`, at least 1 GiB; the variable `LIMIT_VARIABLE` replaces it by
    a number of bytes, 0 for no limit.

    Raises:
        ValueError: the variable is no such number.
    """
    chosen = os.environ.get(LIMIT_VARIABLE)
    if not chosen:
        return max(_LEAST, int(WORKER_SHARE * total_memory()))
    if not chosen.isdecimal():
        raise ValueError(
            f"{LIMIT_VARIABLE}: expected a number of bytes, or 0 for no limit; got {chosen!r}"
        )
    return int(chosen) or None


def reply_limit() -> int:
    """Bytes that the coordinator takes in one answer of a worker."""
    return max(_LEAST, int(REPLY_SHARE * total_memory()))
