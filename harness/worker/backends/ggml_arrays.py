"""NumPy arrays for ggml, which copies them; each call or model has a count of threads."""

from __future__ import annotations

from importlib.metadata import version

from harness.worker.backends import Backend, session_threads


def backend() -> Backend:
    """The backend of ggml."""
    return session_threads.backend("ggml", "ggml", version("pywhispercpp"))
