"""NumPy arrays for OpenVINO, which wraps their memory; each compiled model has its threads."""

from __future__ import annotations

import sys

# OpenVINO tells its maker of every import, from a thread, unless that package cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

from harness.worker.backends import Backend, session_threads  # noqa: E402


def backend() -> Backend:
    """The backend of OpenVINO."""
    version = str(openvino.__version__)
    return session_threads.backend("openvino", "OpenVINO", version, pins=True)
