"""The CUDA kernels' logic on the CPU, judged by the catalogue and the certified reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cuda_emulation as emulation
import ml_dtypes
import numpy as np
import pytest
from cuda_emulation import BFLOAT16, FakeCupy

from harness.bounds import error_over_bound, evaluate_bound
from harness.experiments.conformance.judge import Options, judge
from harness.reference import softmax_exact

pytestmark = pytest.mark.skipif(
    emulation.compiler() is None, reason="no C++ compiler: the kernels' logic is not run here"
)

ORDERS = (0, 1, 2, 3, 7)  # of the threads, see cuda_emulation.hpp
DTYPES = {name: BFLOAT16 if name == "bfloat16" else np.dtype(name) for name in emulation.FORMATS}
# What a plan chooses on the small device of the emulation, by class count in float32.
STRATEGIES = {
    1: ["lanes_4_1"],
    10: ["lanes_4_1"],
    33: ["lanes_8_2"],
    130: ["lanes_32_2"],
    500: ["lanes_32_4"],
    1000: ["lanes_32_8"],
    1100: ["held_1"],
    5001: ["held_8"],
    20_001: ["held_16"],
}


@pytest.fixture(scope="module")
def fake() -> FakeCupy:
    return FakeCupy(emulation.attributes())


@pytest.fixture(scope="module")
def accurate(fake: FakeCupy) -> Iterator[Any]:
    with emulation.implementation("cupy_gpu", fake) as module:
        yield module


def _logits(classes: int, dtype: np.dtype[Any], rows: int = 3, scale: float = 4.0) -> Any:
    return (scale * np.random.default_rng(classes).standard_normal((rows, classes))).astype(dtype)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("classes", STRATEGIES)
def test_each_strategy_is_within_its_bound(
    accurate: Any, fake: FakeCupy, classes: int, order: int
) -> None:
    x = _logits(classes, np.dtype(np.float32))
    fake.order, before = order, len(fake.launched)
    y = emulation.call(accurate.softmax, x)
    fake.order = 0
    assert fake.launched[before:] == STRATEGIES[classes]
    exact = softmax_exact(x)
    bound = evaluate_bound("two_pass", x, exact, "float32", exp_error=1.5)
    assert error_over_bound(y, exact, bound).max() <= 1.0
    assert np.abs(y - exact.to_float64()).max() <= 8 * 2.0**-24  # no digit lost to the distance


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("rows", [1, 2])
def test_split_rows_are_within_their_bound(name: str, rows: int, order: int) -> None:
    device = FakeCupy(
        emulation.attributes(MultiProcessorCount=64, L2CacheSize=1 << 24), order=order
    )
    x = _logits(40_001, DTYPES[name], rows)
    inside = "float64" if name == "float64" else "float32"
    with emulation.implementation("cupy_gpu", device) as module:
        y = emulation.call(module.softmax, x)
    assert device.launched == ["partial", "finish"]
    exact = softmax_exact(x)
    bound = evaluate_bound("two_pass", x, exact, name, internal=inside, exp_error=1.5)
    assert error_over_bound(y, exact, bound).max() <= 1.0


def test_rows_that_no_cluster_holds_are_split_a_few_at_a_time(
    accurate: Any, fake: FakeCupy
) -> None:
    x = _logits(70_001, np.dtype(np.float32), 3)
    before = len(fake.launched)
    y = emulation.call(accurate.softmax, x)
    assert fake.launched[before:] == ["partial", "finish"] * 3
    assert np.abs(y.sum(axis=1, dtype=np.float64) - 1).max() < 1e-5


def test_shared_memory_for_a_long_row_stays_after_a_shorter_one() -> None:
    """It is an attribute of the function, which all launches of it share."""
    device = FakeCupy(
        emulation.attributes(MaxSharedMemoryPerBlockOptin=160 * 1024), capability="80"
    )
    with emulation.implementation("cupy_gpu", device) as module:
        for classes in (30_000, 20_000, 30_001, 1500):
            x = _logits(classes, np.dtype(np.float32), rows=8)
            y = emulation.call(module.softmax, x)
            np.testing.assert_allclose(y, softmax_exact(x).to_float64(), rtol=1e-5)
    assert device.launched == ["held_1"] * 4


@pytest.mark.parametrize(
    ("largest", "launched"), [(8, ["held_8"] * 2), (4, ["partial", "finish"] * 2)]
)
def test_a_device_that_refuses_large_clusters_gets_smaller_ones(
    largest: int, launched: list[str]
) -> None:
    device = FakeCupy(emulation.attributes(), largest_cluster=largest)
    x = _logits(20_001, np.dtype(np.float32))
    with emulation.implementation("cupy_gpu", device) as module:
        y = emulation.call(module.softmax, x)
        emulation.call(module.softmax, x)
    assert device.launched == launched
    assert np.abs(y - softmax_exact(x).to_float64()).max() <= 8 * 2.0**-24


# Options(thorough=False) over every case; the rest under `slow`.
@pytest.mark.parametrize(
    ("implementation", "operation", "name"),
    [
        ("cupy_gpu", "softmax", "float32"),
        ("cupy_gpu", "cross_entropy", "bfloat16"),
        *(
            pytest.param(i, o, f, marks=pytest.mark.slow)
            for i, operations, formats in (
                (
                    "cupy_gpu",
                    ("softmax", "log_softmax", "logsumexp", "softmax_backward", "cross_entropy"),
                    emulation.FORMATS,
                ),
                (
                    "cupy_gpu_fast",
                    ("softmax", "log_softmax", "logsumexp", "cross_entropy"),
                    emulation.FORMATS[1:],
                ),
            )
            for o in operations
            for f in formats
        ),
    ],
)
def test_the_catalogue_finds_no_failure(implementation: str, operation: str, name: str) -> None:
    device = FakeCupy(emulation.attributes())
    with emulation.implementation(implementation, device) as module:
        subject = emulation.EmulatedSubject.of(implementation, module)
        first = (operation, name) == ("softmax", "float32")
        options = Options(thorough=False, budget_s=0.3, whole=first)
        results = list(judge(subject, operation, name, options=options))
    failures = [r for r in results if r.verdict == "failure"]
    assert [r.message for r in failures] == []
    assert sum(r.verdict == "pass" for r in results) >= 20


def _special(name: str, classes: int) -> Any:
    x = np.zeros((7, classes), dtype=DTYPES[name])
    x[0] = -np.inf
    x[1, -1] = np.nan
    x[2, 0] = np.inf
    x[3, : classes // 2] = -np.inf  # a masked start, longer than the share of many threads
    x[4] = -np.inf
    x[4, -1] = np.nan
    x[6, 1::2] = -np.inf
    return x


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("classes", [2, 71, 1000, 5001, 70_001])
def test_special_values_in_every_strategy(accurate: Any, classes: int, name: str) -> None:
    x = _special(name, classes)
    got = emulation.call(accurate.softmax, x).astype(np.float64)
    assert np.isnan(got[[0, 1, 2, 4]]).all()
    assert (got[3, : classes // 2] == 0).all()
    np.testing.assert_allclose(got[3, classes // 2 :], 1 / (classes - classes // 2), rtol=2**-8)
    np.testing.assert_allclose(got[5], 1 / classes, rtol=2**-8)
    assert (got[6, 1::2] == 0).all()


@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize("classes", [7, 71, 1001, 5001])
def test_rows_may_begin_anywhere(accurate: Any, classes: int, offset: int) -> None:
    x = _logits(classes, np.dtype(np.float32), 2)
    moved = emulation.device_empty(x.shape, x.dtype, offset=4 * offset)
    moved[...] = x
    out = emulation.device_empty(x.shape, x.dtype, offset=4 * (3 - offset))
    y = accurate.softmax(moved, out=out)
    assert y is out
    np.testing.assert_allclose(np.array(y), emulation.call(accurate.softmax, x), rtol=1e-5)


@pytest.mark.parametrize("classes", [10, 1100])
def test_evenly_spaced_rows_are_not_copied(accurate: Any, classes: int) -> None:
    wide = _logits(classes + 3, np.dtype(np.float32), 5)
    native = emulation.to_device(wide)
    y = emulation.device_empty((5, classes + 6), np.float32)
    y[...] = 55
    accurate.softmax(native[:, 2:-1], out=y[:, 3:-3])
    want = emulation.call(accurate.softmax, np.ascontiguousarray(wide[:, 2:-1]))
    np.testing.assert_allclose(np.array(y[:, 3:-3]), want, rtol=1e-5)
    assert (np.array(y[:, :3]) == 55).all()
    assert (np.array(y[:, -3:]) == 55).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("classes", [10, 1100, 5001, 70_001])
def test_in_place(accurate: Any, fake: FakeCupy, classes: int, order: int) -> None:
    x = _logits(classes, np.dtype(np.float32))
    native = emulation.to_device(x)
    fake.order = order
    accurate.softmax(native, out=native)
    fake.order = 0
    assert np.array(native).tobytes() == emulation.call(accurate.softmax, x).tobytes()


def test_an_output_that_overlaps_the_input_is_right(accurate: Any) -> None:
    memory = emulation.device_empty(60, np.float32)
    x = _logits(10, np.dtype(np.float32), 5)
    memory[:50] = x.reshape(-1)
    out = memory[7:57].reshape(5, 10)
    accurate.softmax(memory[:50].reshape(5, 10), out=out)
    np.testing.assert_array_equal(np.array(out), emulation.call(accurate.softmax, x))


@pytest.mark.parametrize("classes", [10, 1100])
def test_a_target_that_is_no_class_spoils_its_row_alone(accurate: Any, classes: int) -> None:
    x = _logits(classes, np.dtype(np.float32), 3)
    loss, gradient = emulation.call(accurate.cross_entropy, x, np.array([0, classes, -1]))
    assert np.isnan(loss).tolist() == [False, True, True]
    assert np.isfinite(gradient[0]).all()


def test_the_loss_alone_is_that_of_the_fused_kernel(accurate: Any) -> None:
    x = _logits(1000, np.dtype(np.float32))
    targets = np.array([5, 999, 0])
    fused, _ = emulation.call(accurate.cross_entropy, x, targets)
    alone = emulation.call(accurate.cross_entropy_loss, x, targets)
    assert fused.tobytes() == alone.tobytes()


@pytest.mark.parametrize("fast", [False, True])
def test_the_exponential_is_as_good_as_it_says(fast: bool) -> None:
    from harness.bounds.exp_error import measure_exp_error

    device = FakeCupy(emulation.attributes())
    with emulation.implementation("cupy_gpu_fast" if fast else "cupy_gpu", device) as module:
        found = measure_exp_error(
            lambda x: emulation.call(module.exp, x), np.float32, points=30_000
        )
    assert found.error_u <= (120 if fast else 1.55)
    if not fast:
        assert found.underflow_eta <= 0.8  # its own error, and the rounding


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_roundings_of_the_emulation(name: str) -> None:
    """Every 16-bit number, and the neighbourhood of every midpoint."""
    from ctypes import c_float, c_ushort

    library = emulation.compiled("Softmax", formats=("float32",))
    convert = getattr(library, f"test_to_{name}")
    convert.argtypes, convert.restype = [c_float], c_ushort
    every = np.arange(0, 1 << 16, 7, dtype=np.uint16).view(DTYPES[name]).astype(np.float32)
    values = every[np.isfinite(every)]
    with np.errstate(over="ignore"):
        middle = values * np.float32(1 + 2.0 ** -(12 if name == "float16" else 9))
        tried = np.concatenate([values, middle, np.nextafter(middle, np.float32(np.inf))])
        want = tried.astype(DTYPES[name])
    got = np.array([convert(v) for v in tried], np.uint16).view(DTYPES[name])
    np.testing.assert_array_equal(got, want)
    assert ml_dtypes.finfo(DTYPES[name]).bits == 16
