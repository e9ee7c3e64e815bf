"""Ulp errors against rational arithmetic, and the summary against known-wrong results."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.numerics.exact import Exact, from_float64
from harness.numerics.formats import FORMATS, FloatFormat, float_format, from_ordinal, to_ordinal
from harness.numerics.metrics import (
    HISTOGRAM_KEYS,
    signed_ulp_error,
    sum_residual,
    summarise,
    ulp_error,
    wrong_order,
)
from harness.reference import softmax_exact


def exact_of(hi: float, lo: float = 0.0, exponent: int = 0) -> Exact:
    return Exact(np.array([hi]), np.array([lo]), np.array([exponent], dtype=np.int32))


def rational(exact: Exact) -> Fraction:
    value = Fraction(float(exact.hi[0])) + Fraction(float(exact.lo[0]))
    return value * Fraction(2) ** int(exact.exponent[0])


def rational_ulp(value: Fraction, fmt: FloatFormat) -> Fraction:
    e = fmt.emin
    if value:
        magnitude = abs(value)
        e = magnitude.numerator.bit_length() - magnitude.denominator.bit_length() - 1
        e += Fraction(2) ** (e + 1) <= magnitude
        e = max(e, fmt.emin)
    return Fraction(2) ** (e - fmt.precision + 1)


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(FORMATS)),
    hi=st.floats(0.5, 1.0, exclude_max=True),
    rest=st.floats(-1.0, 1.0),
    exponent=st.integers(-1100, 0),
    steps=st.integers(-40, 40),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_ulp_error_agrees_with_rational_arithmetic(
    name: str, hi: float, rest: float, exponent: int, steps: int, sign: float
) -> None:
    fmt = float_format(name)
    exact = exact_of(sign * hi, sign * rest * 2.0**-54, exponent)
    computed = from_ordinal(to_ordinal(exact.round_to(fmt)) + steps, fmt)
    error = (Fraction(float(computed[0])) - rational(exact)) / rational_ulp(rational(exact), fmt)
    got = signed_ulp_error(computed, exact)[0]
    assert abs(Fraction(float(got)) - error) <= Fraction(1, 10**12) * max(abs(error), 1)
    assert ulp_error(computed, exact)[0] == abs(got)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_correctly_rounded_result_is_within_half_an_ulp(name: str) -> None:
    rng = np.random.default_rng(3)
    hi = rng.uniform(0.5, 1.0, 4000)
    lo = rng.uniform(-1.0, 1.0, 4000) * 2.0**-54
    exact = Exact(hi, lo, rng.integers(-160, 1, 4000).astype(np.int32))
    assert ulp_error(exact.round_to(name), exact).max() <= 0.5


def test_the_low_part_decides_a_difference_of_1e_minus_14_ulp() -> None:
    assert ulp_error(np.array([1.0]), exact_of(1.0, -(2.0**-100)))[0] == 2.0**-47


def test_just_below_a_power_of_two_the_unit_is_the_smaller_one() -> None:
    below = np.array([np.nextafter(np.float32(1), np.float32(0))])
    assert ulp_error(below, exact_of(1.0, -(2.0**-80)))[0] == pytest.approx(1.0, abs=1e-12)
    assert ulp_error(below, exact_of(1.0))[0] == 0.5


@pytest.mark.parametrize(
    ("computed", "exact", "expected"),
    [
        (np.nan, np.nan, 0.0),
        (np.nan, 0.5, np.inf),
        (0.5, np.nan, np.inf),
        (np.inf, 0.5, np.inf),
        (-np.inf, 0.5, -np.inf),
        (0.5, np.inf, -np.inf),
        (np.inf, np.inf, 0.0),
        (-np.inf, -np.inf, 0.0),
        (np.inf, -np.inf, np.inf),
        (np.nan, np.inf, np.inf),
        (0.0, 0.0, 0.0),
        (-0.0, 0.0, 0.0),
    ],
)
def test_special_values(computed: float, exact: float, expected: float) -> None:
    assert signed_ulp_error(np.array([computed]), exact_of(exact))[0] == expected


def test_an_infinity_is_right_where_the_exact_value_rounds_to_it() -> None:
    value = exact_of(-131008.0)
    assert ulp_error(np.array([-np.inf], dtype=np.float16), value)[0] == 0
    assert ulp_error(np.array([np.inf], dtype=np.float16), value)[0] == np.inf
    assert ulp_error(np.array([-65504.0], dtype=np.float16), value)[0] == 1023.5


def test_an_error_beyond_float64_saturates_and_stays_finite() -> None:
    error = signed_ulp_error(np.array([1e300, -1e300]), from_float64(np.array([1e-310, 0.0])))
    assert error.tolist() == [np.finfo(np.float64).max, -np.finfo(np.float64).max]


def test_a_result_far_below_the_format_flushed_to_zero_has_no_error() -> None:
    assert ulp_error(np.array([0.0]), exact_of(0.75, 0.0, -3000))[0] == 0.0


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="computed: expected the shape"):
        ulp_error(np.zeros(3), exact_of(0.0))


LOGITS = np.random.default_rng(5).normal(size=(20, 50)) * 3


def softmax_of(dtype: str) -> tuple[NDArray[Any], Exact]:
    x = LOGITS.astype(dtype)
    return x, softmax_exact(x)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_summary_of_the_correctly_rounded_result(dtype: str) -> None:
    x, exact = softmax_of(dtype)
    s = summarise(exact.round_to(dtype), exact, logits=x)
    assert s.elements == 1000
    assert s.max_ulp <= 0.5
    assert s.p50_ulp <= s.p99_ulp <= s.p999_ulp <= s.max_ulp
    assert s.correctly_rounded == 1.0
    assert abs(s.bias_ulp or 0.0) < 0.05
    assert s.histogram == {k: 1000 * (k == "<=0.5") for k in HISTOGRAM_KEYS}
    assert (s.wrong_argmax, s.wrong_order, s.nonfinite, s.flushed_count) == (0, 0, 0, 0)


def test_one_ulp_added_everywhere_is_a_bias_of_one() -> None:
    x, exact = softmax_of("float32")
    up = np.nextafter(exact.round_to("float32"), np.float32(np.inf))
    s = summarise(up, exact, logits=x)
    assert s.bias_ulp == pytest.approx(1.0, abs=0.05)
    assert s.correctly_rounded == 0.0
    assert 1.0 < s.max_ulp <= 1.5


def test_the_worst_element_is_named_in_hex() -> None:
    x, exact = softmax_of("float32")
    y = exact.round_to("float32")
    y[7, 11] *= np.float32(1.01)
    worst = summarise(y, exact, logits=x).worst
    assert (worst.row, worst.column) == (7, 11)
    assert float.fromhex(worst.computed) == float(y[7, 11])
    assert float.fromhex(worst.expected) == float(exact.round_to("float32")[7, 11])
    assert float.fromhex(worst.expected_float64) == float(exact.round_to("float64")[7, 11])
    assert worst.logit is not None
    assert float.fromhex(worst.logit) == float(x[7, 11])


def test_zeros_are_wrong_flushed_and_of_total_variation_one_half() -> None:
    x, exact = softmax_of("float32")
    s = summarise(np.zeros_like(x), exact, logits=x)
    assert s.histogram["wrong"] == s.flushed_count == 1000
    assert s.flushed_mass == pytest.approx(1.0, abs=1e-12)
    assert s.sum_residual == 1.0
    assert s.total_variation == pytest.approx(0.5)
    assert s.kl_divergence == pytest.approx(1.0)  # sum(p - q), the defect of the mass
    assert s.max_relative == 1.0
    assert s.normwise_relative == 1.0
    assert s.bias_ulp is None


def test_non_finite_results_are_counted_and_infinite() -> None:
    x, exact = softmax_of("float64")
    y = exact.round_to("float64")
    y[0, 0], y[1, 1] = np.nan, np.inf
    s = summarise(y, exact, logits=x)
    assert s.nonfinite == s.histogram["wrong"] == 2
    assert math.isinf(s.max_ulp)
    assert math.isinf(s.max_absolute)
    assert s.kl_divergence == s.total_variation == s.normwise_relative == math.inf
    assert s.wrong_argmax == 2
    assert s.bias_ulp is not None
    assert abs(s.bias_ulp) <= 0.5


def test_nan_where_nan_is_due_is_right() -> None:
    exact = softmax_exact(np.array([[np.nan, 1.0], [0.0, 0.0]]))
    s = summarise(np.array([[np.nan, np.nan], [0.5, 0.5]]), exact)
    assert s.max_ulp == 0.0
    assert s.correctly_rounded == 1.0
    assert s.histogram["0"] == 4
    assert s.kl_divergence == s.total_variation == 0.0


def test_finite_where_nan_is_due_is_wrong() -> None:
    exact = softmax_exact(np.array([[np.nan, 1.0]]))
    s = summarise(np.array([[0.0, 1.0]]), exact)
    assert s.histogram["wrong"] == 2
    assert s.kl_divergence is None
    assert s.sum_residual == 0.0


def test_a_reversed_row_has_a_wrong_maximum_and_order() -> None:
    x, exact = softmax_of("float64")
    y = exact.round_to("float64")
    y[3] = y[3][::-1]
    s = summarise(y, exact, logits=x)
    assert s.wrong_argmax == 1
    assert s.wrong_order is not None
    assert s.wrong_order > 10


def test_the_argmax_may_be_any_of_the_tied_maxima() -> None:
    exact = softmax_exact(np.array([[1.0, 1.0, 0.0]]))
    y = exact.round_to("float64")
    y[0, 1] = np.nextafter(y[0, 1], 1.0)
    assert summarise(y, exact).wrong_argmax == 0


def test_the_argmax_is_told_apart_in_the_low_part() -> None:
    exact = Exact(np.array([[0.5, 0.5]]), np.array([[0.0, 2.0**-70]]), np.zeros((1, 2), np.int32))
    assert summarise(np.array([[0.6, 0.5]]), exact).wrong_argmax == 1
    assert summarise(np.array([[0.5, 0.6]]), exact).wrong_argmax == 0


def test_wrong_order_counts_strict_inversions_only() -> None:
    x = np.array([[3.0, 1.0, 2.0, 2.0]])
    assert wrong_order(np.array([[0.5, 0.1, 0.2, 0.2]]), x) == 0
    assert wrong_order(np.array([[0.5, 0.3, 0.2, 0.2]]), x) == 1
    assert wrong_order(np.array([[np.nan, 0.3, 0.2, 0.2]]), x) == 0


def test_the_sum_residual_is_summed_without_rounding() -> None:
    assert sum_residual([[1.0, 2.0**-80, -(2.0**-81)]]) == 2.0**-81
    assert sum_residual([[np.nan, 1.0]]) is None


@pytest.mark.parametrize("classes", [1, 2, 511, 512, 5000])
@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0, 700.0])
def test_the_sum_residual_of_many_numbers_is_that_of_fsum(classes: int, scale: float) -> None:
    rng = np.random.default_rng(classes)
    x = scale * rng.normal(size=(7, classes))
    signs = rng.choice([1.0, 1.0, 1.0, -1.0], size=x.shape)
    for p in (
        np.exp(x - x.max(axis=1, keepdims=True)) * signs,
        np.exp(x - x.max(axis=1, keepdims=True) - 720.0) * signs,  # below the normal range
        np.exp(np.clip(x, -460.0, 460.0)) * signs,
        np.full_like(x, 1.0 / classes),
        np.full_like(x, np.float32(1.0 / classes)),
    ):
        alone = [abs(math.fsum([*row, -1.0])) for row in p.tolist()]
        assert [sum_residual(row) for row in p] == alone
        assert sum_residual(p) == max(alone)


def test_the_divergences_of_a_tiny_error_are_not_noise() -> None:
    exact = from_float64(np.array([[0.25, 0.75]]))
    d = 2.0**-52
    y = np.array([[0.25 + d, 0.75 - d]])
    s = summarise(y, exact)
    assert s.total_variation == pytest.approx(d, rel=1e-12)
    assert s.kl_divergence == pytest.approx(d * d / 2 * (1 / 0.25 + 1 / 0.75), rel=1e-9)


def test_the_divergence_of_a_large_error_is_the_textbook_one() -> None:
    p, q = np.array([[0.2, 0.3, 0.5]]), np.array([[0.5, 0.3, 0.2]])
    s = summarise(q, from_float64(p))
    assert s.kl_divergence == pytest.approx(float(np.sum(q * np.log(q / p))), rel=1e-13)


def test_mass_where_none_may_be_diverges() -> None:
    s = summarise(np.array([[0.5, 0.5]]), from_float64(np.array([[1.0, 0.0]])))
    assert s.kl_divergence == math.inf
    assert s.histogram["wrong"] == 1  # 0.5 for 1 is a bad number, 0.5 for 0 is none at all


def test_relative_errors_leave_subnormal_results_out() -> None:
    x = np.array([[0.0, -100.0]], dtype=np.float32)
    exact = softmax_exact(x)
    s = summarise(np.array([[1.0, 0.0]], dtype=np.float32), exact, logits=x)
    assert s.max_relative is not None
    assert s.max_relative < 1e-7
    assert s.flushed_count == 1
    assert s.flushed_mass == pytest.approx(np.exp(-100.0))
    assert s.histogram["wrong"] == 0


def test_other_operations_have_no_probability_measures() -> None:
    exact = from_float64(np.array([[-1.5, -0.25, 3.0]]))
    s = summarise(np.array([[-1.5, -0.25, 3.0]]), exact, operation="softmax_backward")
    assert s.sum_residual is s.kl_divergence is s.total_variation is s.wrong_argmax is None
    assert s.max_ulp == 0.0


def test_one_dimension_is_one_row() -> None:
    s = summarise(np.array([0.5, 0.5]), from_float64(np.array([0.5, 0.5])))
    assert (s.worst.row, s.elements) == (0, 2)


@pytest.mark.parametrize(
    ("computed", "message"),
    [(np.zeros((0, 3)), "at least one element"), (np.zeros((2, 2)), "shape")],
)
def test_what_cannot_be_summarised_is_refused(computed: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarise(computed, from_float64(np.zeros((0, 3))))
