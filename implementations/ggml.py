"""ggml_soft_max on the CPU, the softmax of llama.cpp and whisper.cpp.

The peer of language models on one's own machine. The library is that in the wheel of pywhispercpp,
called through its C interface: a graph of one node is made for each call, in memory of its own, and
the arrays are copied in and out. It knows float32 and the last axis alone: for another one the
classes are moved there first. Sums are in double precision. Threads are those of the environment
variable OMP_NUM_THREADS, all cores where it is not set.
"""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_bool, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from implementations._shared import session_arrays as arrays

Array = NDArray[Any]

IMPLEMENTATION = {
    "backend": "ggml",
    "device": "cpu",
    "dtypes": ("float32",),
    "requires": ("pywhispercpp",),
    "source": "https://github.com/ggml-org/ggml/blob/v0.13.1/include/ggml.h",
    "formula": "yⱼ = exp(xⱼ − m) · (1 / Σᵢ exp(xᵢ − m)),  m = maxᵢ xᵢ",
    "bound": "shift_divide",
    "threads": "many",
    "by_name": True,
}

_F32 = 0  # GGML_TYPE_F32


class _Memory(Structure):
    """struct ggml_init_params: bytes, where they are (NULL: ggml's), whether data has none."""

    _fields_ = [("size", c_size_t), ("buffer", c_void_p), ("no_alloc", c_bool)]


_SIGNATURES: dict[str, tuple[type[Any] | None, list[Any]]] = {
    "ggml_init": (c_void_p, [_Memory]),
    "ggml_free": (None, [c_void_p]),
    "ggml_tensor_overhead": (c_size_t, []),
    "ggml_graph_overhead": (c_size_t, []),
    "ggml_new_tensor_2d": (c_void_p, [c_void_p, c_int, c_int64, c_int64]),
    "ggml_get_data": (c_void_p, [c_void_p]),
    "ggml_soft_max": (c_void_p, [c_void_p, c_void_p]),
    "ggml_new_graph": (c_void_p, [c_void_p]),
    "ggml_build_forward_expand": (None, [c_void_p, c_void_p]),
    "ggml_graph_compute_with_ctx": (c_int, [c_void_p, c_void_p, c_int]),
}


@cache
def _library() -> dict[str, Any]:
    """The functions of `_SIGNATURES`, by name.

    Raises:
        OSError: the wheel has no library of ggml where wheels keep theirs.
    """
    spec = find_spec("pywhispercpp")
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = [f for folder in folders for f in Path(folder).parent.glob("pywhispercpp.libs/*ggml*")]
    libraries = [ctypes.CDLL(str(f)) for f in sorted(found)]
    functions = {}
    for name, (result, arguments) in _SIGNATURES.items():
        library = next((lib for lib in libraries if hasattr(lib, name)), None)
        if library is None:
            raise OSError(f"pywhispercpp: expected a library with {name} in its wheel; found none")
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    return functions


def _call(rows: Array) -> Array:
    ggml, threads = _library(), arrays.thread_count()
    count, classes = rows.shape
    # Each tensor begins at a multiple of 64; every thread has a row of scratch memory.
    size = 2 * (rows.nbytes + ggml["ggml_tensor_overhead"]()) + ggml["ggml_graph_overhead"]()
    size += threads * 4 * (classes + 64) + (1 << 16)
    context = ggml["ggml_init"](_Memory(size, None, False))
    if not context:
        raise MemoryError(f"ggml_init: expected {size} bytes; got none")
    try:
        x = ggml["ggml_new_tensor_2d"](context, _F32, classes, count)
        ctypes.memmove(ggml["ggml_get_data"](x), rows.ctypes.data, rows.nbytes)
        y = ggml["ggml_soft_max"](context, x)
        graph = ggml["ggml_new_graph"](context)
        ggml["ggml_build_forward_expand"](graph, y)
        status = ggml["ggml_graph_compute_with_ctx"](context, graph, threads)
        if status != 0:
            raise RuntimeError(f"ggml_graph_compute_with_ctx: expected status 0; got {status}")
        result = np.empty_like(rows)
        ctypes.memmove(result.ctypes.data, ggml["ggml_get_data"](y), result.nbytes)
    finally:
        ggml["ggml_free"](context)
    return result


def softmax(x: Array, axis: int = -1) -> Array:
    """ggml_soft_max of the rows."""
    return arrays.by_rows(_call, arrays.checked(x), axis)
