"""NumPy arrays for OpenVINO, which wraps their memory; each compiled model has its threads."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

# OpenVINO tells its maker of every import, from a thread, unless that package cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from harness.worker.backends import Backend, numpy_arrays, session_threads  # noqa: E402


def _exp(x: NDArray[Any]) -> NDArray[Any]:
    raise TypeError("OpenVINO has no function exp: an implementation is to offer its own")


def backend() -> Backend:
    """The backend of OpenVINO."""
    return replace(
        numpy_arrays.backend(),
        name="openvino",
        set_threads=session_threads.set_threads,
        threads=session_threads.threads,
        exp=_exp,
        pins=True,
        version=lambda: str(openvino.__version__),
    )
