"""Errors counted block by block: sums exact, quantiles within a bin, whatever the blocks."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.numerics.formats import float_format
from harness.numerics.tally import tally, together

FLOAT32 = float_format("float32")
ERRORS = st.lists(
    st.floats(allow_nan=False) | st.sampled_from([0.0, -0.5, 0.5, 2.0**23, -np.inf, 1e308]),
    min_size=1,
    max_size=60,
)


@given(ERRORS, st.lists(st.integers(0, 60), max_size=4), st.floats(0.001, 1.0))
def test_blocks_count_as_the_whole(errors: list[float], cuts: list[int], share: float) -> None:
    signed = np.array(errors)
    blocks = [b for b in np.split(signed, sorted(min(c, len(errors)) for c in cuts)) if b.size]
    found, whole = together(tally(b, FLOAT32) for b in blocks), tally(signed, FLOAT32)
    assert found == whole
    right = [Fraction(e) for e in errors if abs(e) < 2.0**23]
    assert (whole.total, whole.summed) == (sum(right), len(right))
    if right:
        assert whole.bias == float(sum(right)) / len(right)
    else:
        assert whole.bias is None
    ordered = sorted(abs(e) for e in errors)
    exact = ordered[max(1, math.ceil(share * len(ordered))) - 1]
    told = whole.quantile(share)
    assert told in ordered
    assert exact <= told <= max(exact * (1 + 2.0**-12), exact + 1e-300)


def test_a_quantile_is_that_of_numpy() -> None:
    """Where no two errors share a bin."""
    signed = np.random.default_rng(0).permutation(np.linspace(-9.0, 9.0, 999))
    for share in (0.001, 0.5, 0.99, 0.999, 1.0):
        exact = np.quantile(np.abs(signed), share, method="inverted_cdf")
        assert tally(signed, FLOAT32).quantile(share) == pytest.approx(exact, rel=2.0**-12)


def test_no_errors_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="expected at least one error"):
        together([]).quantile(0.5)
