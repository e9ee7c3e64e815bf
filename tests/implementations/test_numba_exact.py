"""The rounded-once CPU kernels: half an ulp where it is claimed, layouts, threads, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import reference
from harness.bounds import error_over_bound, evaluate_bound
from harness.numerics.formats import float_format
from harness.numerics.ulps import ulp_error
from harness.worker.local import load
from implementations import numba_exact
from implementations._exact.kernels import WHOLE, kernel
from implementations._simd.launch import launch

Array = NDArray[Any]
_ROOT = Path(__file__).parents[2]
DTYPES = ["float64", "float32", "float16", "bfloat16"]
WITHIN = {"float64": 0.503, "float32": 0.50001, "float16": 0.5, "bfloat16": 0.5}
"""The error bound of softmax rounded up; for 16 bits what is left of it is not seen here."""


_OPERATIONS = ("softmax", "log_softmax", "logsumexp", "softmax_backward", "cross_entropy")


def _launch(
    operation: str, x: Array, out: Array, more: int = 0, past: bool = False, parts: int = 1
) -> None:
    """A kernel by its address, with what the public functions would choose."""
    rows, classes = x.shape
    places = numba_exact._at(x), numba_exact._at(out)
    launch(kernel(operation, x.dtype), WHOLE, *places, rows, classes, int(past), more, parts)


def _cast(x: Any, dtype: str) -> Array:
    return np.asarray(x).astype(float_format(dtype).dtype)


@cache
def _inputs() -> dict[str, Array]:
    rng = np.random.default_rng(5)
    g = rng.standard_normal
    gaps = np.concatenate([np.linspace(0, 120, 500), np.linspace(0.1, 700, 500)])
    return {
        "scale 0.1": 0.1 * g((20, 50)),
        "scale 1": g((20, 100)),
        "scale 10": 10 * g((7, 333)),
        "scale 200": 200 * g((50, 5)),
        "offset 1000": 1000 + g((5, 40)),
        "two classes": np.stack([gaps, 0 * gaps], 1),
        "three classes": np.stack([gaps, 0 * gaps, -gaps], 1),
        "ascending": np.linspace(-20, 20, 500)[None],
        "masked": np.where(rng.random((6, 50)) < 0.5, -np.inf, rng.random((6, 50))),
        "several blocks": 5 * g((1, 9001)),
        "many classes": 3 * g((1, 70_001)),
        "odd counts": g((5, 71)),
        "one class": g((4, 1)),
        "dominant": np.eye(6) * 20 + g((6, 6)),
    }


@pytest.mark.parametrize("kind", list(_inputs()))
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_is_rounded_once(dtype: str, kind: str) -> None:
    x = _cast(_inputs()[kind], dtype)
    exact = reference.softmax_exact(x)
    y = numba_exact.softmax(x)
    assert ulp_error(y, exact).max() <= WITHIN[dtype]
    bound = evaluate_bound("rounded_once", x, exact)
    assert error_over_bound(y, exact, bound).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_in_the_subnormal_range_are_rounded_once(dtype: str) -> None:
    low = float_format(dtype)
    ends = -np.log(2.0) * (low.emin - low.precision - 2), -np.log(2.0) * (low.emin + 6)
    gaps = np.linspace(min(ends), max(ends), 4000)
    x = _cast(np.stack([gaps, 0 * gaps, gaps - 0.7], 1), dtype)
    assert ulp_error(numba_exact.softmax(x), reference.softmax_exact(x)).max() <= WITHIN[dtype]


@pytest.mark.parametrize("kind", list(_inputs()))
@pytest.mark.parametrize("dtype", DTYPES)
def test_log_softmax_loss_and_gradient(dtype: str, kind: str) -> None:
    x = _cast(_inputs()[kind], dtype)
    # In float64, a logarithm in the subnormal range is rounded twice.
    limit = 0.51 if dtype == "float64" else 0.5001
    y, exact = numba_exact.log_softmax(x), reference.log_softmax_exact(x)
    assert ulp_error(y, exact).max() <= limit
    targets = np.random.default_rng(1).integers(0, x.shape[1], len(x))
    targets[::2] = x.astype(np.float64).argmax(axis=1)[::2]
    loss, gradient = numba_exact.cross_entropy(x, targets)
    exact_loss, exact_gradient = reference.cross_entropy_exact(x, targets)
    taking_part = np.isfinite(x.astype(np.float64)[np.arange(len(x)), targets])
    assert ulp_error(loss, exact_loss)[taking_part].max() <= limit
    assert ulp_error(gradient, exact_gradient).max() <= limit


@pytest.mark.parametrize("kind", list(_inputs()))
@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_is_rounded_once(dtype: str, kind: str) -> None:
    y = reference.softmax(_cast(_inputs()[kind], dtype))
    grad = _cast(np.random.default_rng(2).standard_normal(y.shape), dtype)
    got, exact = numba_exact.softmax_backward(grad, y), reference.softmax_backward_exact(grad, y)
    error = ulp_error(got, exact)
    if dtype == "float64":  # where g - sum(g y) cancels or the result is nearly subnormal
        p, g = y.astype(np.float64), np.abs(grad.astype(np.float64))
        size = p * (g + (g * p).sum(axis=1, keepdims=True))
        absolute = np.abs(got - exact.to_float64())
        result = np.abs(exact.to_float64())
        allowed = 0.5001 * np.spacing(result) + 2.0**-100 * size + 2.0**-1074
        cancels = result < 2.0**-40 * size
        assert (absolute <= allowed + 0.5 * np.spacing(result)).all()
        error = np.where(cancels | (result < 2.0**-960), 0, error)
    assert error.max() <= 0.5001


@pytest.mark.parametrize("dtype", DTYPES)
def test_logsumexp_where_it_cancels_and_where_not(dtype: str) -> None:
    rng = np.random.default_rng(3)
    counts = np.arange(2, 60)
    rows = [
        *_inputs().values(),
        np.full((1, 7), -np.log(7.0)),
        -np.log(counts)[:, None] + 0.0 * rng.random((58, 8)),
    ]
    for x in (_cast(v, dtype) for v in rows):
        y, exact = numba_exact.logsumexp(x), reference.logsumexp_exact(x)
        m = x.astype(np.float64).max(axis=1)
        error = ulp_error(y, exact)
        cancels = np.abs(exact.to_float64()) < 2.0**-4 * np.abs(m)
        assert np.where(cancels, 0, error).max() <= 0.51
        assert dtype == "float64" or error.max() <= 0.51
        with np.errstate(over="ignore"):
            absolute = np.abs((y.astype(np.float64) - exact.hi) - exact.lo)
        half = 0.51 * np.spacing(np.abs(exact.to_float64()))
        assert dtype != "float64" or (absolute <= half + 2.0**-59 * (1 + np.abs(m))).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rivals_do_not_pass_for_rounded_once(dtype: str) -> None:
    x = _cast(_inputs()["scale 10"], dtype)
    exact = reference.softmax_exact(x)
    bound = evaluate_bound("rounded_once", x, exact)
    for name in ("max_shift", "numba_cpu", "online"):
        assert error_over_bound(load(name).softmax(x), exact, bound).max() > 1


def test_many_classes_are_summed_without_loss() -> None:
    x = np.full((1, 2**20), -29.0, np.float32)
    x[0, 0] = 0
    assert ulp_error(numba_exact.softmax(x), reference.softmax_exact(x)).max() <= 0.50001


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 7, 9, 255, 256, 300, 4097])
def test_nothing_is_written_beside_the_results(dtype: str, classes: int) -> None:
    """Rows at every alignment, with stores past the caches and without."""
    rng = np.random.default_rng(classes)
    x = _cast(rng.standard_normal((3, classes)), dtype)
    targets = rng.integers(0, classes, 3)
    guard = _cast(3.0, dtype)
    want = numba_exact.softmax(x).tobytes()
    for offset in (0, 1, 5):
        for past in (False, True):
            around = np.full(3 * classes + 200, guard)
            inside = slice(100 + offset, 100 + offset + 3 * classes)
            losses = np.full(43, guard)
            out, loss = around[inside], losses[20:]
            places = np.array([numba_exact._at(targets), numba_exact._at(loss)])
            _launch("log_softmax", x, out, past=past)
            _launch("softmax_backward", x, out, more=numba_exact._at(x), past=past)
            _launch("logsumexp", x, loss)
            _launch("cross_entropy", x, out, more=numba_exact._at(places), past=past)
            _launch("softmax", x, out, past=past)
            assert around[inside].tobytes() == want
            around[inside] = guard
            losses[20:23] = guard
            assert (around == guard).all()
            assert (losses == guard).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_threads_batch_and_stores(dtype: str) -> None:
    x = _cast(4 * np.random.default_rng(8).standard_normal((6, 9003)), dtype)
    want = np.concatenate([numba_exact.softmax(row[None]) for row in x]).tobytes()
    for parts in (1, 2, 3, 1000):  # a thousandth of the scratch keeps no exponentials
        for past in (False, True):
            out = np.zeros_like(x)
            _launch("softmax", x, out, past=past, parts=parts)
            assert out.tobytes() == want
        out = np.zeros_like(x)
        numba_exact._softmax_of_long_rows(x, out, len(x), parts)
        assert out.tobytes() == want


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_a_row_whose_exponentials_are_not_kept(dtype: str) -> None:
    x = _cast(np.random.default_rng(9).standard_normal((2, 9003)), dtype)
    targets = np.array([7, 9002])
    want_loss, want = numba_exact.cross_entropy(x, targets)
    loss, gradient = np.zeros_like(want_loss), np.zeros_like(want)
    places = np.array([numba_exact._at(targets), numba_exact._at(loss)])
    _launch("cross_entropy", x, gradient, more=numba_exact._at(places), parts=1000)
    assert gradient.tobytes() == want.tobytes()
    assert loss.tobytes() == want_loss.tobytes()


def test_every_kernel_has_code_of_its_own() -> None:
    kernels = {kernel(op, float_format(d).dtype) for op in _OPERATIONS for d in DTYPES}
    assert len(kernels) == len(_OPERATIONS) * len(DTYPES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation_reads_arrays_that_must_not_be_written(dtype: str) -> None:
    x = _cast([[1, 2, 3]], dtype)
    x.setflags(write=False)
    assert numba_exact.softmax(x).sum() > 0.99
    assert (numba_exact.log_softmax(x) < 0).all()
    assert (numba_exact.softmax_backward(x, x) != 0).all()
    loss, gradient = numba_exact.cross_entropy(x, np.array([0]))
    assert loss > 0
    assert gradient[0, 0] < 0


def test_an_overlapping_out_is_not_read_after_it_is_written() -> None:
    memory = np.random.default_rng(4).standard_normal(30).astype(np.float32)
    want = numba_exact.softmax(memory[:20].reshape(4, 5).copy())
    numba_exact.softmax(memory[:20].reshape(4, 5), out=memory[3:23].reshape(4, 5))
    assert memory[3:23].tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_of_16_bits_is_lifted_and_rounded(dtype: str) -> None:
    """logsumexp of one class is that class."""
    fmt = float_format(dtype)
    every = np.arange(2**16, dtype=np.uint16).view(fmt.dtype)
    with np.errstate(invalid="ignore"):  # NaN that signal
        wide = every.astype(np.float64)
    got = numba_exact.logsumexp(every.reshape(-1, 1)).astype(np.float64)
    np.testing.assert_array_equal(got, wide)


_DIGEST = """
import hashlib, numpy as np
from implementations import numba_exact
digest = hashlib.sha256()
for dtype in (np.float64, np.float32):
    for shape in ((7, 5), (3, 71), (1, 5000)):
        x = (9 * np.random.default_rng(1).standard_normal(shape)).astype(dtype)
        digest.update(numba_exact.softmax(x).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_every_path_gives_the_same_bits() -> None:
    from implementations._simd.compilation import available_paths

    found = {}
    for path in available_paths():
        environment = {**os.environ, "SOFTMAX_BENCH_SIMD": path}
        command = [sys.executable, "-c", _DIGEST]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=_ROOT
        )
        found[path] = done.stdout
    assert len(set(found.values())) == 1, found
