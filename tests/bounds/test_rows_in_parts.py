"""What is allowed to rows put together of parts: no right one exceeds it, and it is no blank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bounds.tolerances import cost_of_parts, of_parts_allowance
from harness.numerics.formats import float_format, scale_by_power
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact

FORMATS = ("float32", "float16", "bfloat16")  # whose errors float64 tells exactly enough


def ratios(
    fmt_name: str, seed: int, scale: float, allowed: float, off_ulps: float, signs: str
) -> tuple[float, np.ndarray]:
    """Error / bound of a row of four parts whose parts err as much as they may, by element.

    Args:
        allowed: ulps that each part's softmax is off by; off_ulps: units of roundoff that its
            log-sum-exp is off by; signs: of whom those errors are upwards.
    """
    rng, fmt = np.random.default_rng(seed), float_format(fmt_name)
    x = (rng.normal(size=(4, 6)) * scale).astype(fmt.dtype)
    exact = softmax_exact(x.reshape(1, -1)).reshape(4, 6)
    p = exact.to_float64()
    weights = p.sum(axis=1)
    off = np.full(4, off_ulps * fmt.unit_roundoff)
    costs = cost_of_parts(off, weights)
    up = {"one": np.arange(4) == seed % 4, "all": np.ones(4, bool), "random": rng.random(4) < 0.5}
    error = np.where(up[signs], off, -off)
    factors = weights * np.exp(error) / (weights * np.exp(error)).sum()
    worst, bounds = 0.0, []
    for i in range(4):
        alone = softmax_exact(x[i : i + 1])
        ulp = scale_by_power(1.0, alone.in_ulps(fmt)[0])
        s = alone.to_float64() + np.where(rng.random(6) < 0.5, 1, -1) * allowed * ulp
        y = (s * factors[i]).astype(fmt.dtype)
        bound = of_parts_allowance(
            alone, np.full((1, 6), allowed), exact[i : i + 1], weights[i], costs[i], fmt
        )
        worst = max(worst, float((ulp_error(y, exact[i : i + 1]) / bound).max()))
        bounds.append(bound)
    return worst, np.concatenate(bounds)


@given(
    st.sampled_from(FORMATS), st.integers(0, 10_000), st.sampled_from([0.1, 3.0, 30.0]),
    st.sampled_from([0.5, 3.0, 40.0]), st.sampled_from([0.5, 8.0, 60.0]),
    st.sampled_from(["one", "all", "random"]),
)  # fmt: skip
def test_no_errors_within_those_of_the_parts_exceed_it(
    fmt: str, seed: int, scale: float, allowed: float, off: float, signs: str
) -> None:
    assert ratios(fmt, seed, scale, allowed, off, signs)[0] <= 1.0 + 1e-6


@pytest.mark.parametrize("fmt", FORMATS)
def test_it_is_attained(fmt: str) -> None:
    """So that an error of twice as much would be seen."""
    found = [ratios(fmt, seed, 3.0, 8.0, 8.0, "one")[0] for seed in range(50)]
    assert max(found) > 0.6


def test_without_errors_of_the_parts_half_an_ulp_is_left() -> None:
    _, bound = ratios("float32", 1, 3.0, 0.0, 0.0, "all")
    np.testing.assert_allclose(bound, 0.5)


def test_masked_classes_are_exact_and_a_lost_logarithm_allows_anything() -> None:
    x = np.array([[0.0, -np.inf]], np.float32)
    alone = softmax_exact(x)
    assert of_parts_allowance(alone, np.ones((1, 2)), alone, 1.0, 0.1, "float32")[0, 1] == 0
    lost = of_parts_allowance(alone, np.ones((1, 2)), alone, 1.0, np.inf, "float32")
    assert lost.tolist() == [[np.inf, 0.0]]
