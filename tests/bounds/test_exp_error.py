"""The measured error of exp and log, against Arb and against functions of known error."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import pytest
from log_error import measure_log_error
from numpy.typing import NDArray

from harness.bounds.exp_error import exp_arguments, measure_exp_error
from harness.numerics.formats import float_format, to_float64

Array = NDArray[Any]
FORMATS = ["float64", "float32", "float16", "bfloat16"]


def rounded_exp(fmt: str) -> Any:
    return lambda x: np.exp(x.astype(np.float64)).astype(float_format(fmt).dtype)


@pytest.mark.parametrize("fmt", FORMATS)
def test_numpy_is_within_a_few_ulps(fmt: str) -> None:
    e = measure_exp_error(np.exp, fmt)
    assert 0.5 < e.error_u < 8.0
    assert e.underflow_eta < 4.0
    assert e.exhaustive == (fmt in ("float16", "bfloat16"))
    assert 0.4 < measure_log_error(np.log, fmt).error_u < 8.0


@pytest.mark.parametrize("fmt", ["float32", "float16"])
def test_a_correctly_rounded_exp_has_at_most_one_u(fmt: str) -> None:
    e = measure_exp_error(rounded_exp(fmt), fmt)
    assert 0.99 < e.error_u <= 1.0 + 1e-7
    assert 0.49 < e.underflow_eta <= 0.5 + 1e-6


def test_the_worst_input_has_the_reported_error() -> None:
    e = measure_exp_error(np.exp, "float64")
    x = float.fromhex(e.worst_input)
    with flint.ctx.workprec(200):
        exact = flint.arb(x).exp()
        relative = float(abs(flint.arb(float(np.exp(np.array([x]))[0])) - exact) / exact)
    assert relative * 2.0**53 == pytest.approx(e.error_u, rel=1e-9)


def test_a_relative_error_of_one_percent_is_found() -> None:
    e = measure_exp_error(lambda x: np.exp(x) * 0.99, "float64")
    assert e.error_u == pytest.approx(0.01 * 2.0**53, rel=1e-3)


def test_a_flushing_exp_shows_in_the_subnormal_range_alone() -> None:
    def flushing(x: Array) -> Array:
        y = np.exp(x)
        return np.where(y < np.finfo(np.float32).tiny, np.float32(0), y)

    e = measure_exp_error(flushing, "float32")
    assert e.error_u < 8.0
    assert 0.99 * 2**23 < e.underflow_eta <= 2**23


def test_one_wrong_value_among_all_of_float16_is_found() -> None:
    def wrong_once(x: Array) -> Array:
        y = np.exp(x)
        y[x == np.float16(-3.5)] *= np.float16(1.1)
        return y

    e = measure_exp_error(wrong_once, "float16")
    assert float.fromhex(e.worst_input) == -3.5
    assert e.error_u > 100


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_result_is_an_infinite_error(bad: float) -> None:
    def broken(x: Array) -> Array:
        y = np.exp(x)
        y[x == 0] = bad
        return y

    assert measure_exp_error(broken, "float32").error_u == np.inf


@pytest.mark.parametrize("broken", [lambda x: x[:-1], lambda x: np.exp(x).astype(np.float64)])
def test_another_shape_or_dtype_is_refused(broken: Any) -> None:
    with pytest.raises(TypeError, match="exp: expected an array of float32"):
        measure_exp_error(broken, "float32")


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_arguments_reach_from_below_underflow_to_below_overflow(fmt: str) -> None:
    x, exhaustive = exp_arguments(fmt)
    f = float_format(fmt)
    values = to_float64(x)
    assert values.min() < np.log(f.smallest_subnormal)
    assert 0.98 * np.log(f.max) < values.max() < np.log(f.max)
    assert exhaustive == (np.unique(values).size == values.size and f.bits == 16)


def test_the_sample_is_the_same_every_time() -> None:
    first, second = (measure_exp_error(np.exp, "float32", points=5000) for _ in range(2))
    assert first == second
    assert first.points == 5000


def test_the_logarithm_of_one_must_be_zero() -> None:
    def off(x: Array) -> Array:
        y = np.log(x)
        y[x == 1] = 1e-30
        return y

    assert measure_log_error(off, "float16").error_u < 2.0  # 1e-30 is 0 in float16
    assert measure_log_error(off, "float64").error_u == np.inf
