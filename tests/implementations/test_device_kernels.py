"""The implementations on a real device: what neither an emulation nor a simulation can show."""

from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from harness.experiments.budget import COMPILED_BY_SHAPE
from harness.machine.cuda_driver import cuda_device_count, cuda_memory
from harness.reference import cross_entropy, log_softmax, softmax, softmax_backward
from harness.registry.discovery import Implementation
from harness.worker import backends
from harness.worker.local import implementations
from implementations._cuda.plan import Device, plan

COUNT, REASON = cuda_device_count()
needs_a_device = pytest.mark.skipif(not COUNT, reason=f"not run on a GPU: {REASON}")

THERE = [i for i in implementations().values() if i.metadata.device == "cuda"]
# In float32: lanes, a block, clusters of 8 in registers and with shared memory, split rows.
CLASSES = (1, 10, 1000, 1023, 5001, 40_000, 262_144, 600_000, 2_000_000)
ROWS = 5
"""So many are not few any more, for which rows would be split wherever they are long."""


@pytest.fixture(params=THERE, ids=lambda i: i.name)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    one: Implementation = request.param
    if not one.available:
        pytest.skip(str(one.unavailable_reason))
    return one


def _logits(rows: int, classes: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(classes).normal(size=(rows, classes)).astype(dtype)


@cache
def _expected(rows: int, classes: int) -> Any:
    return softmax(_logits(rows, classes))


def test_the_class_counts_reach_every_strategy() -> None:
    """Of a device like an H100, whatever this one is."""
    device = Device(processors=132, shared_bytes=232_448, cache_bytes=50 << 20, clusters=(1, 8, 16))
    found = [plan(ROWS, n, 4, 1, n % 4 == 0, device) for n in CLASSES]
    assert {p.kernel for p in found} >= {"lanes_4_1", "lanes_32_8", "held_1", "held_8", "split"}
    assert any(p.kernel == "held_8" and p.shared_bytes > 100_000 for p in found)
    assert plan(200, 400_000, 4, 1, True, device).kernel == "held_16"


@needs_a_device
@pytest.mark.parametrize("classes", CLASSES)
def test_softmax_at_every_class_count(implementation: Implementation, classes: int) -> None:
    if implementation.name in COMPILED_BY_SHAPE and classes not in (1000, 40_000):
        pytest.skip("compiles for every shape: two of them")
    rows = ROWS if classes < 1_000_000 else 1
    got = implementation.softmax(_logits(rows, classes))
    np.testing.assert_allclose(got, _expected(rows, classes), rtol=2e-5)


@needs_a_device
def test_every_operation(implementation: Implementation) -> None:
    x, g = _logits(5, 1001), _logits(5, 1001)[::-1].copy()
    y, targets = softmax(x), np.array([0, 1000, 7, 500, 3])
    given = {
        "softmax": ((x,), y),
        "log_softmax": ((x,), log_softmax(x)),
        "softmax_backward": ((g, y), softmax_backward(g, y)),
    }
    for name in set(given) & set(implementation.operations):
        arguments, want = given[name]
        got = getattr(implementation, name)(*arguments)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-7, err_msg=name)
    if "cross_entropy" in implementation.operations:
        for got, want in zip(
            implementation.cross_entropy(x, targets), cross_entropy(x, targets), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-7)


@needs_a_device
def test_a_graph_of_calls(implementation: Implementation) -> None:
    backend = backends.get(implementation.metadata.backend)
    device = backend.device
    assert device is not None
    if device.capture is None:
        pytest.skip("its library has no graphs")
    function = implementation.module().softmax
    x = _logits(1, 32_000)
    native = backend.from_numpy(x)
    function(native)  # compiled before the capture
    kept = []
    launch = device.capture(lambda: kept.append(function(native)))
    device.fill(native, backend.from_numpy(x[:, ::-1].copy()))
    launch()
    device.synchronize()
    np.testing.assert_allclose(backend.to_numpy(kept[-1]), softmax(x[:, ::-1]), rtol=2e-5)


@needs_a_device
def test_a_large_cluster_is_launched() -> None:
    """Beyond 8 blocks a cluster has to be asked for by an attribute of the kernel."""
    cupy = pytest.importorskip("cupy", reason="the library is not installed")
    device = cupy.cuda.Device()
    if int(device.compute_capability) < 90 or device.attributes["MultiProcessorCount"] < 100:
        pytest.skip("clusters of 16 need a whole Hopper or later")
    from implementations import cupy_gpu
    from implementations._cuda import launch as _cuda_rows

    x = cupy.asarray(_logits(200, 400_000))
    y = cupy_gpu.softmax(x)
    assert not _cuda_rows._refused
    np.testing.assert_allclose(cupy.asnumpy(y[-1:]), softmax(cupy.asnumpy(x[-1:])), rtol=2e-5)


@needs_a_device
def test_more_than_2_31_elements() -> None:
    cupy = pytest.importorskip("cupy", reason="the library is not installed")
    if cuda_memory()[0] < 20 << 30:
        pytest.skip("needs 20 GiB of the device's memory")
    from harness.worker.backends.cupy_arrays import Bfloat16
    from implementations import cupy_gpu

    rows, classes = (1 << 31) // 1000 + 5, 1000
    last = _logits(1, classes, ml_dtypes.bfloat16)
    x = cupy.zeros((rows, classes), cupy.uint16)
    x[-1] = cupy.asarray(last.view(np.uint16)[0])
    y = cupy_gpu.softmax(Bfloat16(x)).bits
    got = cupy.asnumpy(y[-1:]).view(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_allclose(got, softmax(last).astype(np.float64), rtol=2**-7)
    assert cupy.asnumpy(y[0, :1]).view(ml_dtypes.bfloat16)[0] == ml_dtypes.bfloat16(0.001)
