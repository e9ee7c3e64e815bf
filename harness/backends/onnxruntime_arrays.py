"""NumPy arrays for ONNX Runtime, which binds to their memory, and its threads.

ONNX Runtime has no thread count of the process: each session has its own. The count asked for
stands in OMP_NUM_THREADS, from where an implementation is to take it when it makes a session.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from harness.backends import Backend, check_threads, numpy_arrays

VARIABLE = "OMP_NUM_THREADS"


def _set_threads(count: int) -> None:
    os.environ[VARIABLE] = str(check_threads(count))


def _threads() -> int:
    return int(os.environ.get(VARIABLE, os.cpu_count() or 1))


def _exp(x: NDArray[Any]) -> NDArray[Any]:
    raise TypeError("ONNX Runtime has no function exp: an implementation is to offer its own")


def backend() -> Backend:
    """The backend of ONNX Runtime."""
    return replace(
        numpy_arrays.backend(),
        name="onnxruntime",
        set_threads=_set_threads,
        threads=_threads,
        exp=_exp,
        version=lambda: str(onnxruntime.__version__),
    )
