"""Softmax of ncnn on the CPU.

The peer of inference on telephones without a framework. A network of one layer is made for each
number of dimensions at the first call; it is told float32 where it would take float16. Arrays are
copied in and out. Threads are those of the environment variable OMP_NUM_THREADS, all cores where
it is not set.
"""

from __future__ import annotations

from functools import lru_cache
from os import devnull
from typing import Any

if __name__ == "ncnn":  # this folder is on the path, before the package of the same name
    raise ImportError(
        "ncnn: found implementations/ncnn.py in place of the package; "
        "start Python in another directory, or with -P"
    )

import ncnn
import numpy as np
from numpy.typing import NDArray

from implementations._shared import session_arrays as arrays

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "ncnn",
    "device": "cpu",
    "dtypes": ("float32",),
    "requires": ("ncnn",),
    "source": "https://github.com/Tencent/ncnn/wiki/operators#softmax",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "by_name": True,
}

_LAYERS = """7767517
2 2
Input x 0 1 x
Softmax y 1 1 x y 0=1 1=1
"""
"""The magic number, counts of layers and blobs, and the layers: softmax along axis 1."""


@lru_cache(maxsize=8)
def _network(threads: int) -> Any:
    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_fp16_packed = False
    network.opt.use_fp16_storage = False
    network.opt.use_fp16_arithmetic = False
    network.load_param_mem(_LAYERS)
    network.load_model(devnull)  # there are no weights
    return network


def softmax(x: Array, axis: int = -1) -> Array:
    """The layer Softmax."""
    x = arrays.checked(x)
    shape = arrays.rows_and_classes(x.shape, axis)
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    source = np.require(x, requirements=["C", "A"]).reshape(shape)
    extractor = _network(arrays.thread_count()).create_extractor()
    extractor.input("x", ncnn.Mat(source).clone())
    status, y = extractor.extract("y")
    if status != 0:
        raise RuntimeError(f"ncnn: expected status 0; got {status}")
    return np.array(y).reshape(x.shape)
