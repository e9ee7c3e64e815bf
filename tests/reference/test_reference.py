"""The certified reference against the second engine, on every operation and format."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import reference_audit
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import reference
from harness.numerics.exact import Exact
from harness.numerics.formats import FORMATS, round_pair
from harness.reference.engines import MpmathEngine
from harness.reference.operations import constant_quotients

ORACLES = {name: getattr(reference, name) for name in reference_audit.OPERATIONS}
EXACT = {name: getattr(reference, f"{name}_exact") for name in reference_audit.OPERATIONS}

DELICATE_ROWS = [
    [2.0, 1.0, 0.1],
    [3.5],
    [0.0, 0.0],
    [7.0] * 12,
    [0.0, -40.0],
    [0.0, -100.0],
    [0.0, -745.2, -746.0],
    [0.0, 0.0, -200.0],
    [1.5, 1.5, 1.5, 1.5, -90.0],
    [0.0, -5e-324],
    [-math.log(2), -math.log(2)],
    [-0.6931471805599453, -0.6931471805599455],
    [3.1, -1.5 - 2**-52],
    [1.0, 1.0 - 2**-53, 1.0 + 2**-52, 1.0],
    [-1e-320, -800.0],
    [1e-320, -800.0],
    [2.0**-300, -150.0],
    [100.0, 0.3, 99.9],
    [104.0, 0.0],
    [1e4, 1e4 - 1.25, 9.9e3],
]


def _random_rows(seed: int, count: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        scale = 10.0 ** rng.uniform(-9, 2.3)
        row = rng.normal(size=int(rng.integers(2, 40))) * scale + rng.choice([0.0, 0.0, 50.0])
        rows.append(row.tolist())
        rows.append(row.astype(np.float16).astype(np.float64).tolist())
    return rows


@pytest.mark.parametrize("operation", list(reference_audit.OPERATIONS))
@pytest.mark.parametrize("row", DELICATE_ROWS, ids=str)
def test_delicate_rows_are_correctly_rounded_in_every_format(
    operation: str, row: list[float]
) -> None:
    oracle = ORACLES[operation]
    found = reference_audit.audit_rounding(
        operation, lambda x, f: oracle(x, dtype=f), [row], bits=4000
    )
    assert not found, str(found[0])
    assert reference_audit.worst_relative_error(operation, EXACT[operation], [row], 4000) < 2.0**-90


@pytest.mark.parametrize("operation", list(reference_audit.OPERATIONS))
def test_random_rows_are_correctly_rounded_in_every_format(operation: str) -> None:
    rows = _random_rows(7, 25)
    oracle = ORACLES[operation]
    found = reference_audit.audit_rounding(
        operation, lambda x, f: oracle(x, dtype=f), rows, bits=1500
    )
    assert not found, str(found[0])
    assert reference_audit.worst_relative_error(operation, EXACT[operation], rows, 1500) < 2.0**-96


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-300, 300, allow_nan=False), min_size=2, max_size=8))
def test_any_small_row_is_correctly_rounded(row: list[float]) -> None:
    for operation, oracle in ORACLES.items():
        found = reference_audit.audit_rounding(
            operation,
            lambda x, f, oracle=oracle: oracle(x, dtype=f),
            [row],
            ("float64", "float16"),
            bits=4000,
        )
        assert not found, str(found[0])


def test_the_textbook_example() -> None:
    expected = np.array([0.65900114, 0.24243297, 0.09856589])
    assert np.array_equal(np.round(reference.softmax([2, 1, 0.1]), 8), expected)


@pytest.mark.parametrize("operation", list(reference_audit.OPERATIONS))
def test_without_flint_the_results_are_the_same(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in DELICATE_ROWS:
        x = np.array([row])
        usual = EXACT[operation](x)
        with monkeypatch.context() as patch:
            patch.setattr("harness.reference.ziv.default_engine", MpmathEngine)
            other = EXACT[operation](x)
        for name in FORMATS:
            a, b = usual.round_to(name), other.round_to(name)
            assert np.array_equal(a.astype(np.float64), b.astype(np.float64), equal_nan=True)


def test_log_softmax_next_to_a_midpoint_takes_the_direction_of_the_remainder() -> None:
    # -(2**53 + 1) - exp(-2**53 - 1): 100,000 bits don't tell it from the midpoint
    result = reference.log_softmax(np.array([2.0**53, -1.0]))
    assert result[1] == -(2.0**53 + 2)
    below = reference.log_softmax(np.array([2.0**53 + 2, -1.0]))  # midpoint to the even side
    assert below[1] == -(2.0**53 + 4)
    assert result[0] == 0
    assert reference.logsumexp(np.array([2.0**53, -1.0])) == 2.0**53


@pytest.mark.parametrize(("m", "expected"), [(-1e-320, -(2.0**20)), (1e-320, -(2.0**20))])
def test_differences_with_very_small_last_bits(m: float, expected: float) -> None:
    result = reference.log_softmax_exact(np.array([m, -(2.0**20)]))
    assert result.hi[1] == expected
    assert (result.lo[1] > 0) == (m < 0)


def test_results_far_below_float64_keep_their_digits() -> None:
    result = reference.softmax_exact(np.array([0.0, -2000.0]))
    truth = reference_audit.second_opinion("softmax", [0.0, -2000.0], 4000)
    assert abs(reference_audit.pair_value(result, 1) / truth[1] - 1) < 2.0**-96
    log = reference.log_softmax_exact(np.array([0.0, -2000.0]))
    expected = reference_audit.second_opinion("log_softmax", [0.0, -2000.0], 8000)[0]
    assert abs(reference_audit.pair_value(log, 0) / expected - 1) < 2.0**-96


@pytest.mark.parametrize("n", [1, 2, 3, 7, 512, 4096, 65536])
@pytest.mark.parametrize("masked", [0, 5])
def test_constant_rows_are_exactly_one_over_n(n: int, masked: int) -> None:
    row = np.concatenate([np.full(n, -3.25), np.full(masked, -np.inf)])
    result = reference.softmax_exact(row)
    for name in FORMATS:
        expected = reference_audit.round_rational(reference_audit.Fraction(1, n), name)
        assert np.all(result.round_to(name)[:n].astype(np.float64) == expected)
    assert not result.hi[n:].any()


def test_an_exact_tie_of_a_constant_row_rounds_to_even() -> None:
    hi, lo = constant_quotients(np.array([2.0**25, 2.0**25]), np.array([1.0, 3.0]))
    assert np.array_equal(round_pair(hi, lo, 0, "float16"), np.array([0, 2.0**-23], np.float16))


@pytest.mark.slow
def test_a_row_of_ties_rounds_to_even() -> None:
    result = reference.softmax(np.zeros((2**25, 1), dtype=np.float16)[:, 0])
    assert not result.any()


def test_bfloat16_is_not_rounded_through_float32() -> None:
    # 1 + 2**-8 + 2**-40 lies just above a midpoint of bfloat16; float32 would drop the 2**-40
    exact = Exact(np.array([1 + 2.0**-8 + 2.0**-40]), np.zeros(1), np.zeros(1, dtype=np.int32))
    assert float(exact.round_to("bfloat16")[0]) == 1 + 2.0**-7
    assert float(np.float32(1 + 2.0**-8 + 2.0**-40).astype(ml_dtypes.bfloat16)) == 1.0


SPECIAL = [
    ([np.nan, 1.0], [np.nan, np.nan], [np.nan, np.nan], np.nan),
    ([np.inf, 1.0], [np.nan, np.nan], [np.nan, np.nan], np.inf),
    ([np.inf, np.nan], [np.nan, np.nan], [np.nan, np.nan], np.nan),
    ([-np.inf, -np.inf], [np.nan, np.nan], [np.nan, np.nan], -np.inf),
    ([-np.inf, 4.0], [0.0, 1.0], [-np.inf, 0.0], 4.0),
    ([np.inf, -np.inf], [np.nan, np.nan], [np.nan, np.nan], np.inf),
    ([3.4e38, -3.4e38], [1.0, 0.0], [0.0, -6.8e38], 3.4e38),
    ([1.7e308, -1.7e308], [1.0, 0.0], [0.0, -np.inf], 1.7e308),
]


@pytest.mark.parametrize(("row", "softmax", "log_softmax", "logsumexp"), SPECIAL)
def test_special_values(
    row: list[float], softmax: list[float], log_softmax: list[float], logsumexp: float
) -> None:
    x = np.array([row, [1.0, 1.0]])
    assert np.array_equal(reference.softmax(x)[0], softmax, equal_nan=True)
    assert np.array_equal(reference.log_softmax(x)[0], log_softmax, equal_nan=True)
    assert np.array_equal(reference.logsumexp(x)[0], logsumexp, equal_nan=True)
    # The other row is untouched
    assert np.array_equal(reference.softmax(x)[1], [0.5, 0.5])


@pytest.mark.parametrize("operation", list(reference_audit.OPERATIONS))
@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 2), None])
def test_axes_and_strides(operation: str, axis: int | tuple[int, ...] | None) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    expected = ORACLES[operation](x, axis=axis)
    for view in (np.asfortranarray(x), np.ascontiguousarray(x[:, ::-1])[:, ::-1]):
        assert np.array_equal(ORACLES[operation](view, axis=axis), expected)
    if operation == "softmax":
        assert np.allclose(expected.sum(axis=axis), 1.0)
    if operation == "logsumexp":
        assert expected.shape == np.sum(x, axis=axis).shape


def test_empty_and_scalar_shapes() -> None:
    assert reference.softmax(np.zeros((0, 3))).shape == (0, 3)
    assert reference.softmax(np.zeros((3, 0))).shape == (3, 0)
    assert np.array_equal(reference.logsumexp(np.zeros((3, 0))), np.full(3, -np.inf))
    assert reference.logsumexp(np.zeros((0, 3))).shape == (0,)
    assert reference.softmax(np.float64(3.0), axis=None) == 1.0
    with pytest.raises(np.exceptions.AxisError):
        reference.softmax(np.zeros(3), axis=1)


def test_input_dtypes() -> None:
    assert reference.softmax(np.array([-128, 127], dtype=np.int8)).dtype == np.float64
    assert reference.softmax(np.array([True, False]))[0] > 0.7
    with pytest.raises(TypeError, match="dtype"):
        reference.softmax(np.zeros(2, dtype=np.complex128))
    with pytest.raises(ValueError, match="2\\*\\*53"):
        reference.softmax(np.array([2**60, 0]))


def test_long_rows_cross_blocks() -> None:
    x = np.random.default_rng(2).normal(size=20_001).astype(np.float32)
    whole = reference.softmax_exact(x)
    assert abs(math.fsum(whole.hi.tolist()) - 1) < 1e-15
    import flint

    old = flint.ctx.prec
    flint.ctx.prec = 200
    try:
        terms = [flint.arb(float(v)).exp() for v in x]
        total = sum(terms, flint.arb(0))
        for i in (0, 8191, 8192, 20_000):
            value = terms[i] / total
            hi, lo = flint.arb(float(whole.hi[i])), flint.arb(float(whole.lo[i]))
            assert abs(float((hi + lo) / value - 1)) < 2.0**-98
    finally:
        flint.ctx.prec = old


def test_cross_entropy_keeps_its_digits_at_saturation() -> None:
    rows = [[40.0, 0.0, 1.0], [0.0, 90.0, 3.0], [1.0, 1.0, 1.0], [2.0, 2.0, -70.0], [5.0, 1.0, 2.0]]
    targets = [0, 0, 1, 1, 2]
    loss, gradient = reference.cross_entropy_exact(np.array(rows), targets)
    for i, (row, t) in enumerate(zip(rows, targets, strict=True)):
        p = reference_audit.second_opinion("softmax", row, 2000)
        log_p = reference_audit.second_opinion("log_softmax", row, 2000)
        assert abs(reference_audit.pair_value(loss, i) / -log_p[t] - 1) < 2.0**-96
        for j, value in enumerate(p):
            expected = value - (j == t)
            got = reference_audit.pair_value(gradient, i * 3 + j)
            assert abs(got / expected - 1) < 2.0**-96
            for name in FORMATS:
                rounded = float(gradient.round_to(name)[i, j])
                assert rounded == reference_audit.round_rational(expected, name)


def test_cross_entropy_special_rows_and_errors() -> None:
    x = np.array([[np.nan, 0.0], [-np.inf, 1.0], [0.0, -3000.0]])
    loss, gradient = reference.cross_entropy(x, [0, 0, 0])
    assert np.isnan(loss[0])
    assert np.isnan(gradient[0]).all()
    assert loss[1] == np.inf
    assert np.array_equal(gradient[1], [-1.0, 1.0])
    assert loss[2] == 0
    with pytest.raises(ValueError, match="targets"):
        reference.cross_entropy(x, [0, 0, 2])
    with pytest.raises(TypeError, match="integers"):
        reference.cross_entropy(x, [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="shape"):
        reference.cross_entropy(x, [0])


@pytest.mark.parametrize("name", list(FORMATS))
def test_backward_is_exact(name: str) -> None:
    rng = np.random.default_rng(11)
    for case in range(40):
        n = int(rng.integers(1, 12))
        y = reference.softmax(rng.normal(size=(1, n)) * 10 ** rng.uniform(-2, 2), dtype=name)
        g = rng.normal(size=(1, n)) * 10 ** rng.uniform(-2, 2)
        if case % 3 == 0:
            g = np.round(g)
        if case % 7 == 0:
            g[:] = 1.0
        g = g.astype(y.dtype)
        if not np.isfinite(g.astype(np.float64)).all():
            continue
        got = reference.softmax_backward_exact(g, y)
        truth = reference_audit.rational_backward(
            g[0].astype(np.float64).tolist(), y[0].astype(np.float64).tolist()
        )
        for j, value in enumerate(truth):
            assert (reference_audit.pair_value(got, j) == 0) == (value == 0)
            for fmt in FORMATS:
                expected = reference_audit.round_rational(value, fmt)
                assert np.array_equal(float(got.round_to(fmt)[0, j]), expected, equal_nan=True)


def test_backward_with_huge_and_tiny_cotangents() -> None:
    rng = np.random.default_rng(12)
    for _ in range(40):
        n = int(rng.integers(2, 8))
        y = reference.softmax(rng.normal(size=n) * 10 ** rng.uniform(0, 3))
        g = rng.normal(size=n) * 10.0 ** rng.uniform(-300, 300)
        got = reference.softmax_backward_exact(g, y)
        for j, value in enumerate(reference_audit.rational_backward(g.tolist(), y.tolist())):
            assert float(got.round_to("float64")[j]) == reference_audit.round_rational(
                value, "float64"
            )


def test_backward_refuses_other_shapes_and_marks_non_finite_rows() -> None:
    with pytest.raises(ValueError, match="shape"):
        reference.softmax_backward(np.zeros(3), np.zeros(4))
    result = reference.softmax_backward(np.array([[np.inf, 0], [1, 0]]), np.full((2, 2), 0.5))
    assert np.isnan(result[0]).all()
    assert np.array_equal(result[1], [0.25, -0.25])
