"""Rows in blocks of classes have the softmax of the whole row."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.numerics.exact import Exact
from harness.reference import softmax_exact
from harness.reference.long_row import LongRow

ENTRIES = st.sampled_from([0.0, -0.0, 1.0, -np.inf, 1e308, -1e308, 5e-324, -1e9, -3e5, 1e-9])
ROWS = st.lists(ENTRIES | st.floats(-800, 800), min_size=1, max_size=40).filter(
    lambda row: any(v > -np.inf for v in row)
)


def in_blocks(x: np.ndarray, step: int) -> list[Exact]:
    starts = range(0, x.size, step)
    row = LongRow(lambda: (x[i : i + step] for i in starts))
    assert row.maximum == x.max()
    return [row.softmax(x[i : i + step]) for i in starts]


def _off(found: list[Exact], exact: Exact) -> Any:
    """The relative difference, and where one is zero and the other is not."""
    hi, lo, exponent = (
        np.concatenate([getattr(e, part) for e in found]) for part in ("hi", "lo", "exponent")
    )
    np.testing.assert_array_equal(exponent, exact.exponent)
    np.testing.assert_array_equal(hi == 0, exact.hi == 0)
    return np.abs((hi - exact.hi) + (lo - exact.lo)) / np.where(exact.hi == 0, 1.0, exact.hi)


@given(ROWS, st.integers(1, 41))
def test_any_blocks_give_the_row(row: list[float], step: int) -> None:
    x = np.array(row)
    assert _off(in_blocks(x, step), softmax_exact(x)).max() < 2.0**-90


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_blocks_longer_than_the_working_arrays(dtype: Any) -> None:
    x = (np.random.default_rng(1).normal(size=30_000) * 9).astype(dtype)
    exact = softmax_exact(x)
    assert _off(in_blocks(x, 11_000), exact).max() < 2.0**-90
    assert _off(in_blocks(np.append(x[1:], x[:1]), 11_000), exact).max() > 2.0**-90  # it can tell


def test_a_row_by_independent_arithmetic() -> None:
    x = np.random.default_rng(2).normal(size=300) * 40
    with mpmath.workprec(200):
        terms = [mpmath.exp(mpmath.mpf(v)) for v in x.tolist()]
        total = mpmath.fsum(terms)
        found = [e for block in in_blocks(x, 64) for e in block]
        for term, got in zip(terms, found, strict=True):
            value = mpmath.ldexp(mpmath.mpf(float(got.hi)) + float(got.lo), int(got.exponent))
            assert abs(value * total / term - 1) < mpmath.mpf(2) ** -90


def test_equal_logits_are_exact_quotients() -> None:
    found = in_blocks(np.zeros(4096), 1000)
    assert {float(v) for e in found for v in e.hi} == {2.0**-12}
    assert {float(v) for e in found for v in e.lo} == {0.0}


def test_a_leader_far_ahead_is_below_one() -> None:
    """By so little that no float64 next to 1 tells: the remainder does."""
    (top, *_) = in_blocks(np.array([0.0, -100.0, -100.0, -1000.0]), 1)
    assert float(top.hi[0]) == 1.0
    assert float(top.lo[0]) == pytest.approx(-2 * np.exp(-100.0))
