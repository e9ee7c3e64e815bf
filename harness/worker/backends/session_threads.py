"""NumPy arrays for libraries in which each session or model has a count of threads of its own.

The count asked for stands in OMP_NUM_THREADS, from where an implementation is to take it when it
makes a session.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from importlib.metadata import version as version_of
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


def _copying(name: str, library: str, distribution: str) -> Backend:
    return backend(name, library, version_of(distribution))


ggml = partial(_copying, "ggml", "ggml", "pywhispercpp")
litert = partial(_copying, "litert", "LiteRT", "ai-edge-litert")
mnn = partial(_copying, "mnn", "MNN", "MNN")
ncnn = partial(_copying, "ncnn", "ncnn", "ncnn")
tract = partial(_copying, "tract", "tract", "tract")
"""Backends of libraries that copy NumPy's arrays, with the distribution that has the version."""
