"""A real device through each array library: events, copies, graphs. Needs a GPU to say anything."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from harness.machine.cuda_driver import cuda_device_count, cuda_memory
from harness.worker import backends

COUNT, REASON = cuda_device_count()
pytestmark = pytest.mark.skipif(not COUNT, reason=f"not run on a GPU: {REASON}")


@pytest.fixture(params=["cupy", "torch_cuda"])
def backend(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(request.param.removesuffix("_cuda"), reason="the library is not installed")
    return backends.get(request.param)


def test_facts_are_those_of_the_driver(backend: Any) -> None:
    facts = backend.device.facts()
    total, l2 = cuda_memory()
    assert facts.l2_bytes == l2 > 0
    assert 0 < facts.free_bytes <= facts.total_bytes <= 1.01 * total


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5), (1, 7), (64, 1000)])
def test_blocks_repeat_and_copies_are_exact(
    backend: Any, dtype: Any, shape: tuple[int, int]
) -> None:
    device = backend.device
    block = np.random.default_rng(0).normal(size=shape).astype(dtype)
    native = backend.from_numpy(block)
    whole = device.empty(native, 2 * shape[0] + 1)
    assert device.fill(whole, native) is whole
    expected = np.resize(block, (2 * shape[0] + 1, shape[1]))
    assert np.array_equal(backend.to_numpy(whole), expected)
    last = backend.to_numpy(device.rows(whole, [2 * shape[0]]))
    assert np.array_equal(last, expected[-1:])
    for name, move in device.limits.items():
        target = device.empty(native, 2 * shape[0] + 1)
        backend.prefault(target)
        move((whole, whole), target)
        device.synchronize()
        if not name.startswith("copy"):
            continue
        got = backend.to_numpy(target)
        negated = name == "copy_kernel" and backend.name == "torch_cuda"
        assert np.array_equal(-got if negated else got, expected)


@pytest.mark.parametrize("name", ["copy_kernel", "copy_memcpy", "add_kernel", "read_kernel"])
def test_events_order_and_a_graph_replays(backend: Any, name: str) -> None:
    device = backend.device
    native = backend.from_numpy(np.ones((1024, 1024), np.float32))
    target = device.empty(native, 1024)
    move = device.limits[name]
    move((native, native), target)  # compiled before the capture
    launch = device.capture(lambda: move((native, native), target))
    backend.prefault(target)
    begin = device.record()
    launch()
    end = device.record()
    device.wait(end)
    assert 0 < device.elapsed_ns(begin, end) < 1e9
    if name.startswith("copy"):
        assert np.all(np.abs(backend.to_numpy(target)) == 1)
