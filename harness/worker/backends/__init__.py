"""Array libraries: how arrays reach one and come back, how to wait for it, set its threads.

`get(name)` gives the `Backend` of an array library and imports that library, nothing else does.
A new library is one module here with a function ``backend()``, and one line in `MODULES`; one that
copies NumPy's arrays and counts threads by session is a line in `session_threads` instead.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.backends.device import Device

MODULES: Mapping[str, str] = {
    "numpy": "harness.worker.backends.numpy_arrays",
    "torch": "harness.worker.backends.torch_tensors",
    "torch_cuda": "harness.worker.backends.torch_cuda_tensors",
    "cupy": "harness.worker.backends.cupy_arrays",
    "jax": "harness.worker.backends.jax_arrays",
    "jax_cuda": "harness.worker.backends.jax_cuda_arrays",
    "onnxruntime": "harness.worker.backends.onnxruntime_arrays",
    "openvino": "harness.worker.backends.openvino_arrays",
    "tensorflow": "harness.worker.backends.tensorflow_tensors",
    "numexpr": "harness.worker.backends.numexpr_arrays",
    "tinygrad": "harness.worker.backends.tinygrad_tensors",
    "mlx": "harness.worker.backends.mlx_arrays",
    "candle": "harness.worker.backends.candle_tensors",
    "paddle": "harness.worker.backends.paddle_tensors",
    "litert": "harness.worker.backends.session_threads:litert",
    "ggml": "harness.worker.backends.session_threads:ggml",
    "mnn": "harness.worker.backends.session_threads:mnn",
    "ncnn": "harness.worker.backends.session_threads:ncnn",
    "tract": "harness.worker.backends.session_threads:tract",
}


def check_threads(count: int) -> int:
    """`count` itself, or one clear line: threads are counted from one."""
    if count < 1:
        raise ValueError(f"threads: expected a count of at least 1; got {count}")
    return count


def native_copy(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous, writable copy in the byte order of the machine, for libraries that copy."""
    return np.array(array, array.dtype.newbyteorder("="), order="C", copy=True)


@dataclass(frozen=True)
class Backend:
    """What the harness needs of an array library; `native` is one of its arrays.

    The defaults are those of arrays that cannot be written to (they are in memory once they are
    made), of calls that return when they are done, and of threads that are the library's choice.

    Attributes:
        name: as implementations declare it.
        from_numpy: an ndarray as native, without a copy where the library allows it (then
            writing to one writes to the other), the strides kept where it can express them.
        empty_like: an uninitialised native array of the same shape and dtype, contiguous.
        exp: its elementwise exponential, for measuring that one's error.
        version: of the library.
        to_numpy: native as an ndarray of the same dtype (ml_dtypes for bfloat16).
        prefault: write to every page of a native array, so that timings find it in memory.
        synchronize: wait until everything asked of the device is done.
        set_threads: use this many threads from now on, as far as the library has any.
        threads: how many it uses.
        compile: makes one program of a function of native arrays and all that it calls, where
            the library traces or compiles its caller; None where calls are made one by one.
        device: events, copies and graphs of the device on which its arrays live; None on the CPU.
        pins: the library binds threads to cores itself, and puts back later what it once found.
    """

    name: str
    from_numpy: Callable[[NDArray[Any]], Any]
    empty_like: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    version: Callable[[], str]
    to_numpy: Callable[[Any], NDArray[Any]] = np.asarray
    prefault: Callable[[Any], None] = lambda native: None
    synchronize: Callable[[], None] = lambda: None
    set_threads: Callable[[int], object] = check_threads
    threads: Callable[[], int] = lambda: 1
    compile: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    device: Device | None = None
    pins: bool = False

    def __post_init__(self) -> None:
        if self.device is not None and self.synchronize is Backend.synchronize:
            raise TypeError(f"{self.name}: expected how to wait for its device; got nothing")


@cache
def get(name: str) -> Backend:
    """The backend of an array library, which is imported now.

    Raises:
        ValueError: no such backend.
        ImportError: the library is not installed.
    """
    if name not in MODULES:
        raise ValueError(f"backend: expected one of {', '.join(MODULES)}; got {name!r}")
    module, _, function = MODULES[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), function or "backend")()
    return backend
