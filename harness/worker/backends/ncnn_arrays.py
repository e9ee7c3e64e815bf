"""NumPy arrays for ncnn, which copies them; each call or model has a count of threads."""

from __future__ import annotations

from importlib.metadata import version

from harness.worker.backends import Backend, session_threads


def backend() -> Backend:
    """The backend of ncnn."""
    return session_threads.backend("ncnn", "ncnn", version("ncnn"))
