"""JAX arrays on the CPU: float64 enabled, and calls that return when they are done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from harness.backends import Backend, check_threads

jax.config.update("jax_enable_x64", True)  # else float64 arrays silently become float32 ones
jax.config.update("jax_cpu_enable_async_dispatch", False)  # nothing else could wait for a result

_TASKS = Path("/proc/self/task")
_ALLOWED = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy: JAX takes its arrays for immutable, and NumPy's may be written to.

    Strides are not kept; JAX arrays have none.
    """
    return jnp.asarray(np.array(array, order="C", copy=True))


def _set_threads(count: int) -> None:
    """XLA has no call that changes the size of its pool: its threads are bound to `count` cores.

    Where nothing was computed yet, the pool has that many threads as well.
    """
    cores = set(_ALLOWED[: check_threads(count)])
    if cores and _TASKS.is_dir():
        for task in _TASKS.iterdir():
            os.sched_setaffinity(int(task.name), cores)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if _ALLOWED else os.cpu_count() or 1


def _prefault(array: Any) -> None:
    """Nothing to do: an array cannot be written to, and is in memory once it was made."""


def backend() -> Backend:
    """The backend of JAX on the CPU."""
    return Backend(
        name="jax",
        from_numpy=_from_numpy,
        to_numpy=np.asarray,
        empty_like=jnp.zeros_like,
        prefault=_prefault,
        synchronize=lambda: None,
        set_threads=_set_threads,
        threads=_threads,
        exp=jax.jit(jnp.exp),
        version=lambda: str(jax.__version__),
        compile=jax.jit,
    )
