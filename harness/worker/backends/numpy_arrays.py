"""NumPy arrays, and Numba kernels, which take the same arrays and bring threads."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from harness.worker.backends import Backend, check_threads

_requested = 1


def _set_threads(count: int) -> None:
    """Limit the linear algebra pools, and Numba's if it is loaded.

    NumPy's elementwise functions and reductions use one thread whatever is asked.
    """
    global _requested
    _requested = check_threads(count)
    threadpoolctl.threadpool_limits(limits=count)
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.set_num_threads(min(count, int(numba.config.NUMBA_NUM_THREADS)))


def _threads() -> int:
    numba = sys.modules.get("numba")
    return _requested if numba is None else int(numba.get_num_threads())


def _exp(x: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(all="ignore"):
        return np.asarray(np.exp(x))


def backend() -> Backend:
    """The backend of NumPy."""
    return Backend(
        name="numpy",
        from_numpy=lambda a: a,
        empty_like=lambda a: np.empty(a.shape, a.dtype),
        prefault=lambda a: a.fill(0),
        set_threads=_set_threads,
        threads=_threads,
        exp=_exp,
        version=lambda: np.__version__,
    )
