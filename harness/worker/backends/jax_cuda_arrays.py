"""JAX arrays on the first CUDA device, and their timing by the host's clock.

XLA keeps streams of its own, which wait for no other and which nobody else can reach: an event on
the default stream would see none of its work. A window therefore begins and ends with a wait for
the device, whose cost is in the time, spread over the calls between the two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

# Before jax is imported: else it takes three quarters of the memory, and the others find none.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from harness.machine import cuda_driver
from harness.worker.backends import Backend
from harness.worker.backends.device import Device, DeviceFacts

jax.config.update("jax_enable_x64", True)  # else float64 arrays silently become float32 ones

PLATFORM = "cuda"


def _device() -> Any:
    return jax.devices(PLATFORM)[0]


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy on the device; JAX arrays have no strides."""
    return jax.device_put(np.array(array, order="C", copy=True), _device())


def _synchronize() -> None:
    """Wait for every array that is alive: work is done in the order in which it was asked for."""
    for array in jax.live_arrays(PLATFORM):
        array.block_until_ready()


def _record() -> int:
    _synchronize()
    return time.perf_counter_ns()


def _facts() -> DeviceFacts:
    total, l2 = cuda_driver.cuda_memory()
    used = (_device().memory_stats() or {}).get("bytes_in_use", 0)
    return DeviceFacts(str(_device().device_kind), l2, max(0, total - int(used)), total)


def _empty(native: Any, rows: int) -> Any:
    return jnp.zeros((rows, native.shape[1]), native.dtype, device=_device())


@partial(jax.jit, static_argnums=1)
def _repeated(block: Any, rows: int) -> Any:
    return jnp.tile(block, (-(-rows // block.shape[0]), 1))[:rows]


def _rows(native: Any, indices: Sequence[int]) -> Any:
    return native[np.asarray(indices)]


def device() -> Device:
    """The device as JAX shows it: no limits, no graphs, no events."""
    return Device(
        facts=_facts,
        empty=_empty,
        fill=lambda target, block: _repeated(block, target.shape[0]),
        rows=_rows,
        limits={},
        record=_record,
        wait=lambda event: None,
        elapsed_ns=lambda a, b: float(b - a),
        synchronize=_synchronize,
        free=lambda: None,
        clock="host",
    )


def backend() -> Backend:
    """The backend of JAX on CUDA. Calls return before they are done: `synchronize` waits."""
    return Backend(
        name="jax_cuda",
        from_numpy=_from_numpy,
        empty_like=lambda array: jnp.zeros(array.shape, array.dtype, device=_device()),
        synchronize=_synchronize,
        exp=jax.jit(jnp.exp),
        version=lambda: str(jax.__version__),
        compile=jax.jit,
        device=device(),
    )
