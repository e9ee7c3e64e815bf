"""NumPy arrays for MNN, which copies them; each call or model has a count of threads."""

from __future__ import annotations

from importlib.metadata import version

from harness.worker.backends import Backend, session_threads


def backend() -> Backend:
    """The backend of MNN."""
    return session_threads.backend("mnn", "MNN", version("MNN"))
