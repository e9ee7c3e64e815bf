"""Tensors of candle, through its Python package, on the CPU.

That package makes tensors of lists of float32 alone. Its safetensors files keep the bits of every
format: arrays pass through one in memory each, in both directions.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import candle
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from harness.worker.backends import Backend, cores, native_copy

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


@contextmanager
def _file() -> Iterator[tuple[int, str]]:
    """A file in memory: its descriptor, and a path that is good while the block runs."""
    descriptor = os.memfd_create("tensor")
    try:
        yield descriptor, f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _from_numpy(array: NDArray[Any]) -> Any:
    """A copy. Strides are not kept.

    Raises:
        TypeError: a dtype that candle's softmax does not take: it would end the process.
    """
    host = native_copy(array)
    name = next((name for name, dtype in _DTYPES.items() if dtype == host.dtype), None)
    if name is None:
        kinds = ", ".join(d.name for d in _DTYPES.values())
        raise TypeError(f"candle: expected one of {kinds}; got {host.dtype}")
    entry = {"dtype": name, "shape": host.shape, "data_offsets": [0, host.nbytes]}
    header = json.dumps({"x": entry}).encode()
    header += b" " * (-len(header) % 8)
    with _file() as (descriptor, path):
        with open(descriptor, "wb", closefd=False) as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.write(host.tobytes())
        return candle.utils.load_safetensors(path)["x"]


def _to_numpy(tensor: Any) -> NDArray[Any]:
    with _file() as (descriptor, path):
        candle.utils.save_safetensors(path, {"x": tensor})
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(0)
            entry = json.loads(file.read(int.from_bytes(file.read(8), "little")))["x"]
            size = entry["data_offsets"][1]
            data = bytearray(file.read(size))
    shape = entry["shape"]
    return np.frombuffer(data, _DTYPES[entry["dtype"]], math.prod(shape)).reshape(shape)


def backend() -> Backend:
    """The backend of candle on the CPU."""
    return Backend(
        name="candle",
        from_numpy=_from_numpy,
        to_numpy=_to_numpy,
        empty_like=lambda tensor: tensor.copy(),
        set_threads=cores.bind,
        threads=cores.bound,
        exp=lambda tensor: tensor.exp(),
        version=lambda: version("candle-nn"),
    )
