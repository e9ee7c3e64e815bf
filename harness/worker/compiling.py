"""Time limits for calls that may compile first, so that compiling is no hang."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from harness.registry.contract import Metadata

FIRST_S = 120.0
"""The first call may take so long: it waits for compilers."""

COMPILERS = frozenset(
    {"numba", "torch", "jax", "tensorflow", "tinygrad", "triton", "mlx", "taichi", "cffi", "cython",
     "pythran", "subprocess", "ctypes"}
)  # fmt: skip
"""Packages whose first call may compile; a source that names none of them does not."""


def may_compile(metadata: Metadata) -> bool:
    """Whether a first call may take minutes: its library or one that its source names compiles."""
    return metadata.backend != "numpy" or _names_a_compiler(metadata.path)


@cache
def _names_a_compiler(path: Path) -> bool:
    return bool(COMPILERS & set(re.findall(r"\w+", path.read_text("utf-8", "replace"))))


def limit_of(timeout: float, first_s: float | None, calls: int = 1) -> float:
    """Seconds that so many calls may take, each of which may compile.

    A new process, format, layout or shape each compile anew, about as long as at first.

    Args:
        timeout: seconds without compiling.
        first_s: seconds that the first call took; None if none was made.
        calls: how many.
    """
    if first_s is None:
        return max(timeout, FIRST_S)
    return timeout + min((1 + calls) * first_s, FIRST_S + 2 * first_s)
