"""The backend of JAX on CUDA, on JAX's CPU device: timed where no stream can be reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.reference import cross_entropy, softmax
from harness.worker.timing.device_timer import DeviceStopwatch

pytest.importorskip("jax", reason="jax is not installed")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> DeviceStopwatch:
    from harness.worker.backends import jax_cuda_arrays
    from implementations import jax_cuda

    monkeypatch.setattr(jax_cuda_arrays, "PLATFORM", "cpu")
    return DeviceStopwatch(jax_cuda_arrays.backend(), lambda name: getattr(jax_cuda, name))


ORDER: dict[str, Any] = {
    "handle": "h", "allocating": True, "min_sample_ns": 1000, "warm_up_ns": 0,
    "warm_up_cap_ns": 1_000_000,
}  # fmt: skip


@pytest.mark.parametrize("operation", ["softmax", "cross_entropy", "cross_entropy_loss"])
def test_it_is_timed_by_the_host_and_judged_on_new_content(
    watch: DeviceStopwatch, operation: str
) -> None:
    rng = np.random.default_rng(1)

    def blocks() -> list[Any]:
        x = rng.normal(size=(4, 10)).astype(np.float32)
        return [x] if operation == "softmax" else [x, rng.integers(10, size=4)]

    placed = blocks()
    watch.device_place({"rows": 10, "buffers": 2, "outputs": False}, placed)
    options = {"axis": -1} if operation == "softmax" else {}
    ready = watch.device_prepare({**ORDER, "operation": operation, "options": options}, [])[0]
    assert ready["clock"] == "host"
    sample = watch.device_sample({"handle": "h", "calls": ready["calls"]}, [])[0]
    assert sample["elapsed_ns"] > 0
    for content, given in ((placed, []), (fresh := blocks(), fresh)):
        reply, got = watch.device_output({"handle": "h", "rows": [1, 9]}, given)
        rows = [np.asarray(b)[[1, 1]] for b in content]  # blocks of 4 repeat: 9 % 4 is 1
        want: Any = (softmax(rows[0]),) if operation == "softmax" else cross_entropy(*rows)
        assert reply["shapes"][0][0] == 10
        for a, b in zip(got, want, strict=False):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    watch.device_release({}, [])


def test_a_graph_is_refused(watch: DeviceStopwatch) -> None:
    watch.device_place({"rows": 4, "buffers": 1, "outputs": False}, [np.ones((4, 3), np.float32)])
    order = {**ORDER, "operation": "softmax", "options": {}, "graph": True}
    with pytest.raises(ValueError, match="expected graphs; it has none"):
        watch.device_prepare(order, [])
