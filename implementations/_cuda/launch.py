"""Rows of CuPy arrays through the kernels of rows.cu: sources, launches, layouts.

What cupy_gpu and cupy_gpu_fast share; they differ in the exponential alone. Kernels are compiled
by NVRTC at their first use, for one operation and one format at a time, and kept on disk
(_cuda_compile.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from implementations._cuda.plan import Device, Plan, plan

if TYPE_CHECKING:
    from cupy import ndarray

FORMATS = ("float64", "float32", "float16", "bfloat16")
FOLDER = Path(__file__).parent

_ITEM = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_NON_PORTABLE_CLUSTER = 14  # CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
_CLUSTERS = (1, 8, 16)
_DEFAULT_SHARED = 48 * 1024  # what a block may have without asking

_refused: dict[int, int] = {}
"""By device the smallest cluster that it refused: a slice of one has fewer processors side by side,
and may not even have the 8 that are portable between whole ones."""


def source() -> str:
    """The text of rows.cu with its headers in place of their ``#include``.

    What is kept on disk goes by the text that was compiled, and would not see a header change.
    """
    return re.sub(
        r'#include "(\w+\.cuh)"',
        lambda match: (FOLDER / match[1]).read_text(encoding="utf-8"),
        (FOLDER / "rows.cu").read_text(encoding="utf-8"),
    )


def definitions(operation: str, name: str, fast: bool = False) -> tuple[str, ...]:
    """Options of the compiler for an operation of operations.cuh and a format."""
    more = ["-DHALF_WIDTH"] if _ITEM[name] == 2 else []
    more += ["-DFAST"] if fast else []
    return ("--std=c++17", f"-DOPERATION={operation}", f"-DELEMENT={name}", *more)


@cache
def device_of(number: int) -> Device:
    """What a plan needs to know of a device, by its number."""
    device = cupy.cuda.Device(number)
    attributes = device.attributes  # the compute capability is not among them
    return Device(
        processors=int(attributes["MultiProcessorCount"]),
        shared_bytes=int(attributes["MaxSharedMemoryPerBlockOptin"]),
        cache_bytes=int(attributes["L2CacheSize"]),
        clusters=(1,) if int(device.compute_capability) < 90 else _CLUSTERS,
    )


def _load(code: str, options: tuple[str, ...]) -> Any:
    """The module of a source, for the current device."""
    from implementations._cuda.compilation import compiled

    capability = int(cupy.cuda.Device().compute_capability)
    return cupy.RawModule(path=str(compiled(code, options, capability)))


@cache
def _module(device: int, options: tuple[str, ...]) -> Any:
    return _load(source(), options)


@cache
def _kernel(device: int, options: tuple[str, ...], name: str) -> Any:
    """A kernel of the current device, by its number, with all shared memory that it may ask for.

    Not with what one launch needs: that is an attribute of the function, not of this object, and a
    later launch with less would take it away from those with more.
    """
    kernel = _module(device, options).get_function(name)
    allowed = device_of(device).shared_bytes
    if name.startswith("held") and allowed > _DEFAULT_SHARED:
        kernel.max_dynamic_shared_size_bytes = allowed
    if name == "held_16":
        from cupy_backends.cuda.api import driver

        driver.funcSetAttribute(kernel.kernel.ptr, _NON_PORTABLE_CLUSTER, 1)
    return kernel


def _pointer(array: ndarray | None) -> int:
    return 0 if array is None else int(array.data.ptr)


class Rows:
    """An array seen as rows of classes.

    Attributes:
        array: holds the memory: the array itself, or a contiguous copy of it.
        name: its format.
        shape: of the array with the classes last.
        count, classes: rows, and entries of each.
        pitch: entries from the start of one row to that of the next.
    """

    def __init__(self, x: ndarray, name: str, axis: int) -> None:
        moved = cupy.moveaxis(x, axis, -1)
        pitch = _pitch(moved)
        if pitch is None or _pointer(moved) % _ITEM[name]:
            moved = cupy.array(moved, order="C", copy=True)
            pitch = moved.shape[-1]
        self.array, self.name, self.shape, self.pitch = moved, name, moved.shape, pitch
        self.classes = moved.shape[-1]
        self.count = moved.size // self.classes if moved.size else 0

    @property
    def aligned(self) -> bool:
        whole = self.count == 1 or self.pitch * _ITEM[self.name] % 16 == 0
        return whole and _pointer(self.array) % 16 == 0


def _pitch(moved: ndarray) -> int | None:
    """Entries between rows, where the rows are contiguous and evenly spaced; else None."""
    item = moved.itemsize
    *outer, classes = moved.shape
    *steps, last = moved.strides
    if classes > 1 and last != item:
        return None
    pitch: int | None = None
    covered = 0
    for length, step in zip(reversed(outer), reversed(steps), strict=True):
        if length == 1:
            continue
        if pitch is None:
            if step < classes * item or step % item:
                return None
            pitch = step // item
            covered = pitch * length
            continue
        if step != covered * item:
            return None
        covered *= length
    return classes if pitch is None else pitch


def _start(
    kernel: Any, chosen: Plan, grid: int, arrays: Sequence[int], numbers: Sequence[int]
) -> None:
    arguments = (*(np.uint64(a) for a in arrays), *(np.int64(n) for n in numbers))
    kernel((grid,), (chosen.block,), arguments, shared_mem=chosen.shared_bytes)


def launch(
    operation: str,
    fast: bool,
    x: Rows,
    *,
    g: Rows | None = None,
    targets: ndarray | None = None,
    out: Rows | None = None,
    reduced: ndarray | None = None,
) -> None:
    """Run one operation of operations.cuh on the current stream.

    Args:
        x, g, out: rows of one format, count and number of classes; `out` may be `x` itself.
        targets: int64, one a row, contiguous.
        reduced: of the format, one a row, contiguous.
    """
    if x.count == 0:
        return None
    number = cupy.cuda.Device().id
    item = _ITEM[x.name]
    device = device_of(number)
    if number in _refused:
        fewer = tuple(c for c in device.clusters if c < _refused[number])
        device = replace(device, clusters=fewer)
    aligned = x.aligned and (g is None or g.aligned)
    chosen = plan(x.count, x.classes, item, 1 if g is None else 2, aligned, device)
    options = definitions(operation, x.name, fast)
    wide = max(item, 4)
    split = chosen.parts > 0
    partials = cupy.empty(3 * chosen.rows_each * chosen.parts * wide, "uint8") if split else None
    for first in range(0, x.count, chosen.rows_each):
        rows = min(chosen.rows_each, x.count - first)
        views = (x, g, out)
        pitches = [0 if r is None else r.pitch for r in views]
        starts = [0 if r is None else _pointer(r.array) + first * r.pitch * item for r in views]
        starts += [
            0 if targets is None else _pointer(targets) + 8 * first,
            0 if reduced is None else _pointer(reduced) + item * first,
            _pointer(partials),
        ]
        grid = rows * chosen.parts if split else chosen.grid
        numbers = (rows, x.classes, chosen.parts, *pitches)
        try:
            for name in ("partial", "finish") if split else (chosen.kernel,):
                kernel = _kernel(number, options, name)
                _start(kernel, chosen, grid, starts, numbers)
        except cupy.cuda.driver.CUDADriverError:
            if chosen.cluster == 1:
                raise
            _refused[number] = chosen.cluster
            return launch(operation, fast, x, g=g, targets=targets, out=out, reduced=reduced)
    return None


def launch_exponential(fast: bool, x: Rows, out: Rows) -> None:
    """The kernels' exponential of the entries of one row."""
    if x.count:
        options = definitions("Softmax", x.name, fast)
        kernel = _kernel(cupy.cuda.Device().id, options, "exponential_of")
        arrays = (_pointer(x.array), 0, _pointer(out.array), 0, 0, 0)
        chosen = Plan("exponential_of", 1024, 512, 1)
        _start(kernel, chosen, chosen.grid, arrays, (1, x.classes, 0, 0, 0, 0))
