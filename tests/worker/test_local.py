"""What a loaded implementation refuses, and that it refuses what the reference refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness

X = np.array([[1.0, 2.0, 4.0], [0.5, -1.0, 2.0]], np.float32)
NAMES = ("max_shift", "numba_cpu", "torch")
TARGETS: list[Any] = [
    [1.7, 0.0], [-0.5, 0.0], [True, False], ["1", "0"], [None, 0], [1 + 0j, 0], [3, 0], [-1, 0],
    [2**63, 0], [0], [[0, 1]], 0, np.array([1, 2], np.float16), np.array([np.nan, 0.0]),
]  # fmt: skip
AXES: list[Any] = [1.0, True, "1", 2, -3, np.float64(0), np.bool_(True), [1]]


def outcome(call: Any) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("targets", TARGETS, ids=repr)
def test_targets_are_refused_as_the_reference_refuses_them(name: str, targets: Any) -> None:
    loaded = outcome(lambda: harness.load(name).cross_entropy(X, targets))
    assert loaded[0] in (TypeError, ValueError)
    assert loaded == outcome(lambda: harness.reference.cross_entropy(X, targets))
    assert loaded[1].startswith("targets: expected")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"])
def test_integers_of_every_width_are_targets(dtype: str) -> None:
    targets = np.array([2, 0], dtype)
    loss, gradient = harness.load("max_shift").cross_entropy(X, targets)
    exact = harness.reference.cross_entropy(X, targets)
    np.testing.assert_allclose(loss, exact[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, exact[1], atol=1e-6)


@pytest.mark.parametrize("operation", ["softmax", "log_softmax", "logsumexp", "softmax_backward"])
@pytest.mark.parametrize("axis", AXES, ids=repr)
def test_an_axis_is_refused_as_the_reference_refuses_it(operation: str, axis: Any) -> None:
    arrays = (X, X) if operation == "softmax_backward" else (X,)
    loaded = outcome(lambda: getattr(harness.load("max_shift"), operation)(*arrays, axis=axis))
    assert issubclass(loaded[0], TypeError | ValueError)
    assert loaded == outcome(lambda: getattr(harness.reference, operation)(*arrays, axis=axis))
    assert "axis" in loaded[1]


@pytest.mark.parametrize("axis", [None, (0, 1)])
def test_one_axis_alone_is_taken_and_it_is_said_so(axis: Any) -> None:
    """The reference takes several: its result is asked for where an implementation has none."""
    with pytest.raises(TypeError, match="axis: expected an integer; got"):
        harness.load("max_shift").softmax(X, axis=axis)


@pytest.mark.parametrize("axis", [0, 1, -2, np.int8(-1), np.uint64(1)])
def test_integers_of_every_kind_are_an_axis_by_name_and_by_place(axis: Any) -> None:
    one = harness.load("max_shift")
    exact = harness.reference.softmax(X, axis=axis)
    np.testing.assert_allclose(one.softmax(X, axis=axis), exact, rtol=1e-6)
    np.testing.assert_array_equal(one.softmax(X, axis), one.softmax(X, axis=axis))


def test_arrays_that_do_not_fit_are_refused() -> None:
    one = harness.load("max_shift")
    with pytest.raises(ValueError, match="grad, y: expected one shape"):
        one.softmax_backward(X, X[:1])
    with pytest.raises(TypeError, match="softmax_backward: expected 2 arrays; got 1"):
        one.softmax_backward(X)


def test_operations_of_attention_take_their_numbers_by_place_and_by_name() -> None:
    one = harness.load("max_shift")
    exact = harness.reference.scaled_softmax(X, 0.5)
    for y in (one.scaled_softmax(X, 0.5), one.scaled_softmax(X, scale=0.5, axis=-1)):
        np.testing.assert_allclose(y, exact, rtol=1e-6)
    np.testing.assert_array_equal(
        one.scaled_softmax(X, 0.5, 0), one.scaled_softmax(X, scale=0.5, axis=0)
    )
    with pytest.raises(TypeError, match="scaled_softmax: expected scale, a number; got none"):
        one.scaled_softmax(X)
    with pytest.raises(TypeError, match="masked_softmax: expected 2 arrays; got 1"):
        one.masked_softmax(X)
    m, s = harness.load("online").merge_logsumexp(X, np.ones_like(X), X, np.ones_like(X))
    np.testing.assert_array_equal(m, X)
    np.testing.assert_array_equal(s, np.full_like(X, 2.0))
