"""The current CUDA device through torch: its events, copies and graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.worker.backends.device import Device, DeviceFacts, tile


def _facts() -> DeviceFacts:
    index = torch.cuda.current_device()
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return DeviceFacts(str(properties.name), int(properties.L2_cache_size), int(free), int(total))


def _empty(native: Any, rows: int) -> Any:
    return torch.empty((rows, native.shape[1]), dtype=native.dtype, device=native.device)


def _fill(target: Any, block: Any) -> Any:
    tile(target, block, lambda piece, part: piece.copy_(part))
    return target


def _rows(native: Any, indices: Sequence[int]) -> Any:
    return native[torch.tensor(list(indices), device=native.device)]


def _record() -> Any:
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.default_stream())
    return event


def _capture(work: Callable[[], None]) -> Callable[[], None]:
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    launch: Callable[[], None] = graph.replay
    return launch


def device() -> Device:
    """The device that torch works on; torch's default stream is CUDA's legacy one."""
    return Device(
        facts=_facts,
        empty=_empty,
        fill=_fill,
        rows=_rows,
        limits={
            # contiguous and of one format: cudaMemcpyAsync
            "copy_memcpy": lambda inputs, output: output.copy_(inputs[0], non_blocking=True),
            # one vectorised read and write of each element
            "copy_kernel": lambda inputs, output: torch.neg(inputs[0], out=output),
            "add_kernel": lambda inputs, output: torch.add(inputs[0], inputs[1], out=output),
            "read_kernel": lambda inputs, _: inputs[0].sum(),  # to one number
        },
        record=_record,
        wait=lambda event: event.synchronize(),
        elapsed_ns=lambda a, b: 1e6 * float(a.elapsed_time(b)),
        synchronize=torch.cuda.synchronize,
        capture=_capture,
        free=torch.cuda.empty_cache,
    )
