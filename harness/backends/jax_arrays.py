"""JAX arrays on the CPU, float64 enabled."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from harness.backends import Backend, check_threads

jax.config.update("jax_enable_x64", True)  # else float64 arrays silently become float32 ones


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy: JAX takes its arrays for immutable, and NumPy's may be written to.

    Strides are not kept, JAX has none.
    """
    return jnp.array(np.ascontiguousarray(array).reshape(array.shape), copy=True)


def _to_numpy(array: Any) -> NDArray[Any]:
    return np.asarray(array)


def _set_threads(count: int) -> None:
    """XLA sizes its pool once, by the processors that the process may use: so these are set.

    In force only where nothing has been computed yet, which `_threads` tells.
    """
    check_threads(count)
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0) if count < _ALL else range(os.cpu_count() or 1))
        os.sched_setaffinity(0, set(allowed[:count]))


_ALL = os.cpu_count() or 1


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _ALL


def backend() -> Backend:
    """The backend of JAX; calls return before they are done, `synchronize` waits."""
    return Backend(
        name="jax",
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
        empty_like=jnp.empty_like,
        prefault=lambda array: None,
        synchronize=lambda: None,
        set_threads=_set_threads,
        threads=_threads,
        exp=jax.jit(jnp.exp),
        version=lambda: str(jax.__version__),
        compile=jax.jit,
    )
