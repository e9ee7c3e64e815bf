"""Our own CUDA kernels for NVIDIA GPUs, compiled by NVRTC through CuPy.

Three strategies by class count (cuda/softmax.cu): up to 1024 classes a few lanes or a warp hold a
row in registers; as far as shared memory reaches, a block holds it there; beyond, a block takes
an online (maximum, sum) and reads the row a second time. The maximum is subtracted before the
exponential, sums are in float32 (float64 for float64), and exp is the accurate one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

if TYPE_CHECKING:
    from cupy import ndarray

IMPLEMENTATION = {
    "backend": "cupy",
    "device": "cuda",
    "dtypes": ("float64", "float32", "float16", "bfloat16"),
    "requires": ("cupy",),
    "files": ("cuda/softmax.cu",),
    "source": "our own; the online pass after M. Milakov, N. Gimelshein, Online normalizer "
    "calculation for softmax, 2018, https://arxiv.org/abs/1805.02867",
    "formula": "yⱼ = exp(xⱼ − m) / Σᵢ exp(xᵢ − m),  m = maxᵢ xᵢ",
    "bound": "online",
    "passes": 2,
    "threads": "many",
    "accumulator": "float32",
    "deviations": (),
}

# Classes up to which a row takes (lanes, entries per lane): kernels softmax_warp_*.
WARP = ((8, 4, 2), (32, 8, 4), (128, 32, 4), (256, 32, 8), (512, 32, 16), (1024, 32, 32))
_WARP_BLOCK = 128  # __launch_bounds__ of those kernels
_MAX_GRID = 2**31 - 1


def plan(rows: int, classes: int, item_bytes: int, shared_bytes: int) -> tuple[str, int, int, int]:
    """Which kernel: (its name before the dtype's, with ``{}`` for that; grid, block, shared bytes).

    `item_bytes` are those of the accumulator, `shared_bytes` what a block may have. No device is
    needed.
    """
    for limit, lanes, items in WARP:
        if classes <= limit:
            per_block = _WARP_BLOCK // lanes
            grid = min((rows + per_block - 1) // per_block, _MAX_GRID)
            return f"softmax_warp_{{}}_{lanes}_{items}", grid, _WARP_BLOCK, 0
    block = 256 if classes <= 4096 else 512 if classes <= 16384 else 1024
    cached = classes * item_bytes
    if cached <= shared_bytes - 1024:  # room for the static exchange buffer
        return "softmax_shared_{}", min(rows, _MAX_GRID), block, cached
    return "softmax_online_{}", min(rows, _MAX_GRID), 1024, 0


@cache
def _module(device: int) -> Any:
    """The kernels, compiled for the current device by its number."""
    path = Path(__file__).parent / "cuda" / "softmax.cu"
    return cupy.RawModule(code=path.read_text(encoding="utf-8"), options=("--std=c++17",))


@cache
def _kernel(device: int, name: str) -> Any:
    return _module(device).get_function(name)


@cache
def _shared_bytes(device: int) -> int:
    """Shared memory that one block may ask for, in bytes (48 KiB without asking)."""
    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


def _softmax_rows(name: str, rows: ndarray, out: ndarray) -> None:
    classes = rows.shape[-1]
    count = rows.size // classes
    device = cupy.cuda.Device().id
    item = 8 if name == "float64" else 4
    pattern, grid, block, shared = plan(count, classes, item, _shared_bytes(device))
    kernel = _kernel(device, pattern.format(name))
    if shared > 48 * 1024:
        kernel.max_dynamic_shared_size_bytes = shared
    args = (rows, out, np.int64(count), np.int64(classes))
    kernel((grid,), (block,), args, shared_mem=shared)


def softmax(x: ndarray, axis: int = -1, out: ndarray | None = None) -> ndarray:
    """Softmax along `axis` of a cupy.ndarray.

    bfloat16, which CuPy lacks, comes as an object with the bits as uint16 in `.bits`, and so
    does the result.
    """
    if hasattr(x, "bits"):
        bits = _softmax(x.bits, "bfloat16", axis, None if out is None else out.bits)
        return type(x)(bits) if out is None else out
    if x.dtype.name not in ("float64", "float32", "float16"):
        raise TypeError(f"x: expected float64, float32 or float16; got {x.dtype}")
    return _softmax(x, x.dtype.name, axis, out)


def _softmax(x: ndarray, name: str, axis: int, out: ndarray | None) -> ndarray:
    if out is not None and (out.shape != x.shape or out.dtype != x.dtype):
        raise ValueError(
            f"out: expected shape {x.shape} and dtype {x.dtype}; got {out.shape} and {out.dtype}"
        )
    rows = cupy.ascontiguousarray(cupy.moveaxis(x, axis, -1))
    last = axis in (-1, x.ndim - 1)
    direct = out is not None and last and out.flags.c_contiguous
    result = out if direct else cupy.empty_like(rows)
    if rows.size:
        _softmax_rows(name, rows, result)
    if direct:
        return out
    moved = cupy.moveaxis(result, -1, axis)
    if out is None:
        return moved if last else cupy.ascontiguousarray(moved)
    out[...] = moved
    return out
