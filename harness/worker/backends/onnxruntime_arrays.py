"""NumPy arrays for ONNX Runtime, which binds to their memory; each session has its threads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from harness.worker.backends import Backend, numpy_arrays, session_threads


def _exp(x: NDArray[Any]) -> NDArray[Any]:
    raise TypeError("ONNX Runtime has no function exp: an implementation is to offer its own")


def backend() -> Backend:
    """The backend of ONNX Runtime."""
    return replace(
        numpy_arrays.backend(),
        name="onnxruntime",
        set_threads=session_threads.set_threads,
        threads=session_threads.threads,
        exp=_exp,
        version=lambda: str(onnxruntime.__version__),
    )
