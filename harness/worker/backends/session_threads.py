"""NumPy arrays for libraries in which each session or model has a count of threads of its own.

The count asked for stands in OMP_NUM_THREADS, from where an implementation is to take it when it
makes a session.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from harness.worker.backends import Backend, check_threads, numpy_arrays

VARIABLE = "OMP_NUM_THREADS"


def set_threads(count: int) -> None:
    """Ask for `count` threads from now on."""
    os.environ[VARIABLE] = str(check_threads(count))


def threads() -> int:
    """The count asked for, or that of all cores."""
    return int(os.environ.get(VARIABLE, os.cpu_count() or 1))


def backend(name: str, library: str, version: str, *, pins: bool = False) -> Backend:
    """The backend of such a library, which takes NumPy's arrays as they are."""

    def exp(x: Any) -> Any:
        raise TypeError(f"{library} has no function exp: an implementation is to offer its own")

    return replace(
        numpy_arrays.backend(), name=name, set_threads=set_threads, threads=threads, exp=exp,
        version=lambda: version, pins=pins,
    )  # fmt: skip
