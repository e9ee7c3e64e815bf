"""JAX arrays on the CPU: float64 enabled, and calls that return when they are done."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from harness.worker.backends import Backend, cores

jax.config.update("jax_enable_x64", True)  # else float64 arrays silently become float32 ones
jax.config.update("jax_cpu_enable_async_dispatch", False)  # nothing else could wait for a result


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy: JAX takes its arrays for immutable, and NumPy's may be written to.

    Strides are not kept; JAX arrays have none.
    """
    # Where JAX has a GPU it would go there. A call on an array that is still on its way is put off,
    # whatever is configured, and returns at once.
    made = jax.device_put(np.array(array, order="C", copy=True), jax.devices("cpu")[0])
    return made.block_until_ready()


def backend() -> Backend:
    """The backend of JAX on the CPU."""
    return Backend(
        name="jax",
        from_numpy=_from_numpy,
        empty_like=jnp.zeros_like,
        # XLA has no call that changes the size of its pool. Where nothing was computed yet, it will
        # have as many threads as there are cores left.
        set_threads=cores.bind,
        threads=cores.bound,
        exp=jax.jit(jnp.exp),
        version=lambda: str(jax.__version__),
        compile=jax.jit,
    )
