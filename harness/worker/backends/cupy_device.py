"""The current CUDA device through CuPy: its events, copies and graphs.

Nothing here has CuPy compile anything: its compiler asks for the headers of the CUDA toolkit, which
an image may lack, and what is measured needs none. Arrays are copied, and our kernels compiled by
NVRTC itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cupy
from cupy.cuda import nvrtc

from harness.worker.backends.device import Device, DeviceFacts, tile
from harness.worker.backends.limit_kernels import SOURCE, THREADS, blocks_of

_READING_BLOCKS = 4
"""For each processor: 2048 threads, as many as it holds."""


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


def _write(piece: Any, part: Any) -> None:
    """Copy one contiguous array to another of the same format and size."""
    piece.data.copy_from_device_async(part.data, part.nbytes, cupy.cuda.get_current_stream())


def _fill(target: Any, block: Any) -> Any:
    tile(_plain(target), _plain(block), _write)
    return target


def _rows(native: Any, indices: Sequence[int]) -> Any:
    plain = _plain(native)
    found = cupy.empty((len(indices), *plain.shape[1:]), plain.dtype)
    for place, index in enumerate(indices):
        _write(found[place : place + 1], plain[index : index + 1])
    return _like(native, found)


def compiled(capability: int) -> bytes:
    """The kernels' machine code for a compute capability of 90, say, or PTX of the last known one.

    Raises:
        RuntimeError: they do not compile; the compiler's words.
    """
    known = nvrtc.getSupportedArchs()
    machine = capability in known
    arch = capability if machine else max(a for a in known if a <= capability)
    program = nvrtc.createProgram(SOURCE, "limits.cu", (), ())
    try:
        nvrtc.compileProgram(
            program, (f"--gpu-architecture={'sm' if machine else 'compute'}_{arch}",)
        )
        return bytes(nvrtc.getCUBIN(program) if machine else nvrtc.getPTX(program))
    except nvrtc.NVRTCError:
        raise RuntimeError(nvrtc.getProgramLog(program)[:4000]) from None
    finally:
        nvrtc.destroyProgram(program)


@cache
def _module() -> Any:
    module = cupy.cuda.function.Module()
    module.load(compiled(int(cupy.cuda.Device().compute_capability)))
    return module


@cache
def _kernel(name: str) -> Any:
    return _module().get_function(name)


@cache
def _sink() -> Any:
    return cupy.zeros(1, cupy.uint32)


@cache
def _processors() -> int:
    return int(cupy.cuda.Device().attributes["MultiProcessorCount"])


def _copy_kernel(inputs: Sequence[Any], output: Any) -> None:
    y, x = _plain(output), _plain(inputs[0])
    whole = x.nbytes // 16
    arguments = (x, y, cupy.uint64(whole), cupy.uint64(x.nbytes))
    _kernel("copy16")((blocks_of(whole),), (THREADS,), arguments)


def _add_kernel(inputs: Sequence[Any], output: Any) -> None:
    x, g, y = _plain(inputs[0]), _plain(inputs[1]), _plain(output)
    whole = x.nbytes // 16
    _kernel("add16")((blocks_of(whole),), (THREADS,), (x, g, y, cupy.uint64(whole)))


def _read_kernel(inputs: Sequence[Any], _: Any) -> None:
    x = _plain(inputs[0])
    arguments = (x, _sink(), cupy.uint64(x.nbytes // 16))
    _kernel("read16")((_READING_BLOCKS * _processors(),), (THREADS,), arguments)


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
        limits={
            "copy_memcpy": lambda inputs, output: _write(_plain(output), _plain(inputs[0])),
            "copy_kernel": _copy_kernel,
            "add_kernel": _add_kernel,
            "read_kernel": _read_kernel,
        },
        record=_record,
        wait=lambda event: event.synchronize(),
        elapsed_ns=lambda a, b: 1e6 * float(cupy.cuda.get_elapsed_time(a, b)),
        synchronize=lambda: cupy.cuda.runtime.deviceSynchronize(),
        capture=_capture,
        free=_free,
    )
