"""NumPy arrays for ONNX Runtime, which binds to their memory; each session has its threads."""

from __future__ import annotations

import onnxruntime

from harness.worker.backends import Backend, session_threads


def backend() -> Backend:
    """The backend of ONNX Runtime."""
    return session_threads.backend("onnxruntime", "ONNX Runtime", str(onnxruntime.__version__))
