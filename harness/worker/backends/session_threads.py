"""Threads of libraries in which each session or model has a count of its own.

The count asked for stands in OMP_NUM_THREADS, from where an implementation is to take it when it
makes a session.
"""

from __future__ import annotations

import os

from harness.worker.backends import check_threads

VARIABLE = "OMP_NUM_THREADS"


def set_threads(count: int) -> None:
    """Ask for `count` threads from now on."""
    os.environ[VARIABLE] = str(check_threads(count))


def threads() -> int:
    """The count asked for, or that of all cores."""
    return int(os.environ.get(VARIABLE, os.cpu_count() or 1))
