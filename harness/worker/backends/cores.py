"""Threads by the cores that they may run on, for libraries whose pools cannot be resized."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from harness.worker.backends import check_threads

_TASKS = Path("/proc/self/task")
_ALLOWED = sorted(os.sched_getaffinity(0))


def bind(count: int) -> None:
    """Bind every thread of this process to the last `count` cores that it may use.

    The last, since the first is where systems put their own work. Threads that are started later
    inherit it.
    """
    cores = set(_ALLOWED[-check_threads(count) :])
    for task in _TASKS.iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(int(task.name), cores)


def bound() -> int:
    """How many cores the process may use."""
    return len(os.sched_getaffinity(0))
