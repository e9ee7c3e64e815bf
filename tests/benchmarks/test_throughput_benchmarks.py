"""The project's own throughput benchmarks, through pytest-benchmark's fixture.

One thread, so that names and figures compare from machine to machine; `softmax-bench run` is the
instrument (interleaved rounds, a control, limits), this is the quick look while working on one
implementation: `tox -e benchmarks -- --benchmark-autosave`, then `pytest-benchmark compare`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness import implementations, workloads
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation
from harness.worker import backends

SHAPES = ((4096, 10), (64, 1000), (1, 50_257))
_GROSS_ULP = 1e4
"""Not a verdict on accuracy, only that what is timed is a softmax at all."""

CPU = [
    i for i in implementations().values()
    if i.metadata.device == "cpu" and "softmax" in i.operations
]  # fmt: skip


@pytest.mark.parametrize(("rows", "classes"), SHAPES, ids=[f"{r}x{c}" for r, c in SHAPES])
@pytest.mark.parametrize("implementation", CPU, ids=[i.name for i in CPU])
def test_softmax(benchmark: Any, implementation: Implementation, rows: int, classes: int) -> None:
    if not implementation.available:
        pytest.skip(f"{implementation.name}: {implementation.unavailable_reason}")
    backend = backends.get(implementation.metadata.backend)
    before = backend.threads()
    backend.set_threads(1)
    logits = workloads.generate("normal(scale=1)", classes, rows, "float32", 0)
    x = backend.from_numpy(logits)
    softmax = implementation.module().softmax

    def call() -> Any:
        result = softmax(x, axis=-1)
        backend.synchronize()
        return result

    benchmark.group = f"softmax float32 {rows}x{classes}"
    benchmark.extra_info.update(implementation=implementation.name, threads=backend.threads())
    try:
        result = backend.to_numpy(benchmark(call))
    finally:
        backend.set_threads(before)
    assert result.shape == logits.shape
    error = ulp_error(result[:1], softmax_exact(logits[:1]))
    assert np.max(error) < _GROSS_ULP
