"""The current CUDA device through CuPy: its events, copies and graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cupy

from harness.backends.device import Device, DeviceFacts

_COPY = r"""
extern "C" __global__ void copy16(const uint4* __restrict__ x, uint4* __restrict__ y,
                                  unsigned long long whole, unsigned long long bytes) {
  unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;
  if (i < whole) y[i] = x[i];
  unsigned long long rest = 16 * whole + i;  // the last, incomplete 16 bytes
  if (rest < bytes && i < 16) ((char*)y)[rest] = ((const char*)x)[rest];
}
"""
_THREADS = 512


def _plain(native: Any) -> Any:
    return getattr(native, "bits", native)  # of the backend's bfloat16


def _like(native: Any, array: Any) -> Any:
    return array if native is _plain(native) else type(native)(array)


def _facts() -> DeviceFacts:
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    free, total = cupy.cuda.runtime.memGetInfo()
    name = properties["name"]
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return DeviceFacts(text, int(properties["l2CacheSize"]), int(free), int(total))


def _empty(native: Any, rows: int) -> Any:
    plain = _plain(native)
    return _like(native, cupy.empty((rows, plain.shape[1]), plain.dtype))


def _fill(target: Any, block: Any) -> None:
    whole, part = _plain(target), _plain(block)
    for start in range(0, whole.shape[0], part.shape[0]):
        piece = whole[start : start + part.shape[0]]
        piece[...] = part[: piece.shape[0]]


def _rows(native: Any, indices: Sequence[int]) -> Any:
    return _like(native, _plain(native)[cupy.asarray(list(indices))])


@cache
def _kernel() -> Any:
    return cupy.RawKernel(_COPY, "copy16")


def _copy_kernel(target: Any, source: Any) -> None:
    y, x = _plain(target), _plain(source)
    whole = x.nbytes // 16
    blocks = max(1, -(-whole // _THREADS))
    _kernel()((blocks,), (_THREADS,), (x, y, cupy.uint64(whole), cupy.uint64(x.nbytes)))


def _copy_memcpy(target: Any, source: Any) -> None:
    y, x = _plain(target), _plain(source)
    y.data.copy_from_device_async(x.data, x.nbytes, cupy.cuda.get_current_stream())


def _record() -> Any:
    event = cupy.cuda.Event()
    event.record(cupy.cuda.Stream.null)
    return event


def _capture(work: Callable[[], None]) -> Callable[[], None]:
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.runtime.deviceSynchronize()
    with stream:
        stream.begin_capture()
        try:
            work()
        finally:
            graph = stream.end_capture()
    return lambda: graph.launch(cupy.cuda.Stream.null)


def _free() -> None:
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()


def device() -> Device:
    """The device that CuPy works on."""
    return Device(
        facts=_facts,
        empty=_empty,
        fill=_fill,
        rows=_rows,
        copies={"copy_memcpy": _copy_memcpy, "copy_kernel": _copy_kernel},
        record=_record,
        wait=lambda event: event.synchronize(),
        elapsed_ns=lambda a, b: 1e6 * float(cupy.cuda.get_elapsed_time(a, b)),
        synchronize=lambda: cupy.cuda.runtime.deviceSynchronize(),
        capture=_capture,
        free=_free,
    )
