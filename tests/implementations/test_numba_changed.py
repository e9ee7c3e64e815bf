"""Scaled and masked logits of the fastest CPU softmax, in every way by class count."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.bounds import over_bound
from harness.bounds.tolerances import Arithmetic, changed_allowance
from harness.numerics.formats import float_format, to_float64
from harness.numerics.ulps import ulp_error
from harness.reference.composed import Change, changed_rows
from implementations import numba_cpu
from implementations._numba.exponential import HAS_FMA

Array = NDArray[Any]

WAYS = [1, 2, 7, 16, 33, 47, 48, 100, 255, 256, 1001, 5003]
"""Class counts of a row in a lane, of groups of rows and of a row, with and without a remainder."""


def _logits(rows: int, classes: int, scale: float, dtype: str = "float32") -> Array:
    rng = np.random.default_rng(classes)
    return np.asarray((scale * rng.standard_normal((rows, classes))).astype(dtype))


def _mask(rows: int, classes: int) -> Array:
    """By chance; nothing in the last row, the first class alone in the one before."""
    kept = np.random.default_rng(classes).random((rows, classes)) < 0.6
    kept[:, 0] = True
    kept[-2, 1:] = False
    kept[-1] = False
    return np.asarray(kept)


def _over_allowed(y: Array, x: Array, change: Change, mask: Array | None) -> float:
    """The largest error over what is allowed; of rows that have a class."""
    exact = changed_rows(to_float64(x), change, mask, None)
    arithmetic = Arithmetic("two_pass", None, 1.5, 1.0)
    allowed = changed_allowance(to_float64(x), change, mask, None, exact, x.dtype.name, arithmetic)
    return float(over_bound(ulp_error(y, exact), allowed).max())


@pytest.mark.parametrize("scale", [0.125, 0.1, -0.3, 10.0])
@pytest.mark.parametrize("classes", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_scaled_logits_in_every_way(classes: int, scale: float, dtype: str) -> None:
    s = float(float_format(dtype).dtype.type(scale))
    for size in (1, 3, 30):
        x = _logits(37, classes, size, dtype)
        y = numba_cpu.scaled_softmax(x, s)
        assert _over_allowed(y, x, Change(scale=s), None) <= 1
        if HAS_FMA and abs(s) * np.abs(to_float64(x)).max() < 250:
            assert ulp_error(y, changed_rows(to_float64(x), Change(scale=s), None, None)).max() <= 4


@pytest.mark.parametrize("largest", [1e5, 1e9, 1e30])
def test_a_large_product_is_never_nan(largest: float) -> None:
    """Where a fused product less a rounded maximum leaves more than all exponentials hold."""
    rng = np.random.default_rng(1)
    x = (largest * rng.uniform(0.5, 1.0, (200, 100))).astype(np.float32)
    y = numba_cpu.scaled_softmax(x, 0.1)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)
    assert (y.argmax(axis=1) == x.argmax(axis=1)).all()


@pytest.mark.parametrize("scale", [3e38, -3e38, 2e-38])
def test_a_scale_at_the_end_of_the_format(scale: float) -> None:
    x = (_logits(20, 30, 1) / np.float32(scale)).astype(np.float32)
    assert _over_allowed(numba_cpu.scaled_softmax(x, scale), x, Change(scale=scale), None) <= 1


@pytest.mark.parametrize("classes", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_masked_logits_in_every_way(classes: int, dtype: str) -> None:
    for size in (1, 30):
        x, kept = _logits(37, classes, size, dtype), _mask(37, classes)
        garbage = np.random.default_rng(0).choice([np.nan, np.inf, -np.inf, 6e4, 5], x.shape)
        x = np.where(kept, x, garbage.astype(x.dtype))
        y = numba_cpu.masked_softmax(x, kept)
        assert not to_float64(y)[~kept].any()
        assert y[-2, 0] == 1
        clean = np.where(kept, x, x.dtype.type(0))
        assert _over_allowed(y[:-1], clean[:-1], Change(), kept[:-1]) <= 1
        x[3, 0] = np.nan
        assert np.isnan(to_float64(numba_cpu.masked_softmax(x, kept))[3, kept[3]]).all()


@pytest.mark.parametrize("shape", [(), (1,), (300,), (20, 1), (20, 300), (1, 20, 300), (4, 1, 300)])
def test_a_mask_for_several_rows_is_as_one_of_all(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((4, 20, 300)).astype(np.float32)
    kept = np.random.default_rng(1).random(shape) < 0.5
    whole = np.ascontiguousarray(np.broadcast_to(kept, x.shape))
    want = numba_cpu.masked_softmax(x, whole)
    assert numba_cpu.masked_softmax(x, kept).tobytes() == want.tobytes()
    moved = numba_cpu.masked_softmax(np.moveaxis(x, -1, 1), np.moveaxis(whole, -1, 1), axis=1)
    assert np.moveaxis(moved, 1, -1).tobytes() == want.tobytes()


def test_a_mask_of_one_row_over_many_launches(monkeypatch) -> None:
    monkeypatch.setattr(numba_cpu, "_TOGETHER", 1000)
    x, kept = _logits(333, 100, 1), np.arange(100) < 70
    want = numba_cpu.softmax(np.ascontiguousarray(x[:, :70]))
    y = numba_cpu.masked_softmax(x, kept)
    np.testing.assert_allclose(y[:, :70], want, rtol=1e-6)
    assert not y[:, 70:].any()


@pytest.mark.parametrize("mask", [np.ones(3, bool), np.ones(4, np.int8)])
def test_a_mask_that_does_not_fit_is_refused(mask: Array) -> None:
    with pytest.raises((TypeError, ValueError), match="mask: expected"):
        numba_cpu.masked_softmax(np.zeros((2, 4), np.float32), mask)


def _call(operation: str, x: Array, out: Array | None = None) -> Array:
    """An operation with a parameter of its own."""
    if operation == "masked_softmax":
        return np.asarray(numba_cpu.masked_softmax(x, _mask(*x.shape), out=out))
    return np.asarray(getattr(numba_cpu, operation)(x, 0.7, out=out))


CHANGED = ("scaled_softmax", "masked_softmax", "softmax_with_sink", "softcap_softmax")


@pytest.mark.parametrize("operation", CHANGED)
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("shift", [0, 1, 15])
@pytest.mark.parametrize("classes", [1, 7, 40, 65, 129, 300, 1003])
def test_threads_places_and_stores_change_no_bit(
    classes: int, shift: int, past: bool, operation: str, monkeypatch
) -> None:
    x = _logits(37, classes, 5)
    want = _call(operation, x)
    monkeypatch.setattr(numba_cpu, "_PAST", 0 if past else 1 << 60)
    monkeypatch.setattr(numba_cpu, "_PARALLEL", 1)
    before = numba.get_num_threads()
    buffer = np.full(x.size + 64, 7, np.float32)
    out = buffer[16 + shift :][: x.size].reshape(x.shape)
    try:
        for threads in {1, min(3, numba.config.NUMBA_NUM_THREADS)}:
            numba.set_num_threads(threads)
            assert _call(operation, x, out) is out or out.size
            assert out.tobytes() == want.tobytes()
            out[:] = 7
            assert (buffer == 7).all()
    finally:
        numba.set_num_threads(before)
    same = x.copy()
    _call(operation, same, same)
    assert same.tobytes() == want.tobytes()
    longer = np.concatenate([x, x[:1]])
    _call(operation, longer[:-1], longer[1:])
    assert longer[1:].tobytes() == want.tobytes()


@pytest.mark.parametrize("operation", CHANGED)
def test_no_rows_and_no_classes(operation: str) -> None:
    for shape in ((0, 5), (3, 0)):
        x = np.zeros(shape, np.float32)
        y = getattr(numba_cpu, operation)(x, True if operation == "masked_softmax" else 0.5)
        assert y.shape == shape
