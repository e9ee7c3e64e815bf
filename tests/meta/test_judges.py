"""The judges against broken softmaxes: each must be caught by the measure meant to catch it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.bounds import error_over_bound, evaluate_bound
from harness.bounds.exp_error import measure_exp_error
from harness.numerics.metrics import AccuracySummary, summarise
from harness.numerics.outcomes import outcome
from harness.reference import softmax_exact

Array = NDArray[Any]


def correct(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def uniform(x: Array) -> Array:
    return np.full_like(x, 1 / x.shape[1])


def one_hot(x: Array) -> Array:
    return np.asarray(x == x.max(axis=1, keepdims=True)).astype(x.dtype)


def wrong_axis(x: Array) -> Array:
    return np.ascontiguousarray(correct(np.ascontiguousarray(x.T)).T)


def next_row(x: Array) -> Array:
    return np.roll(correct(x), 1, axis=0)


def dropped_tail(x: Array) -> Array:
    y = correct(x)
    y[:, -1] = 0
    return y


def approximate_exp(x: Array) -> Array:
    gap = x - x.max(axis=1, keepdims=True)
    e = np.exp(gap) * (1 + 1e-4 * np.sin(7 * gap)).astype(x.dtype)
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def half_precision_sum(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.astype(np.float16).sum(axis=1, keepdims=True).astype(x.dtype))


def stalled_sum(x: Array) -> Array:
    return correct(x) * x.dtype.type(1.5)


def two_swapped(x: Array) -> Array:
    y = correct(x)
    order = np.argsort(x, axis=1)[:, :2]
    rows = np.arange(len(x))
    y[rows, order[:, 0]], y[rows, order[:, 1]] = y[rows, order[:, 1]], y[rows, order[:, 0]]
    return y


def one_nan(x: Array) -> Array:
    y = correct(x)
    y[2, 3] = np.nan
    return y


def one_lane_off(x: Array) -> Array:
    y = correct(x)
    y[:, 5] *= x.dtype.type(1 + 2e-5)
    return y


MUTANTS = (
    np.zeros_like,
    np.exp,
    uniform,
    one_hot,
    wrong_axis,
    next_row,
    dropped_tail,
    approximate_exp,
    half_precision_sum,
    stalled_sum,
    two_swapped,
    one_nan,
    one_lane_off,
)


def logits(dtype: str) -> Array:
    return (np.random.default_rng(9).normal(size=(32, 32)) * 3).astype(dtype)


def ratio(softmax: Callable[[Array], Array], x: Array) -> float:
    exact = softmax_exact(x)
    error = measure_exp_error(np.exp, x.dtype, points=20_000).error_u
    bound = evaluate_bound("generic", x, exact, exp_error=error)
    return float(error_over_bound(softmax(x), exact, bound).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_exceeds_even_the_weakest_bound(
    mutant: Callable[[Array], Array], dtype: str
) -> None:
    assert ratio(mutant, logits(dtype)) > 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_correct_one_does_not(dtype: str) -> None:
    assert ratio(correct, logits(dtype)) <= 1.0


def summary(softmax: Callable[[Array], Array]) -> AccuracySummary:
    x = logits("float32")
    return summarise(softmax(x), softmax_exact(x), logits=x)


@pytest.mark.parametrize(
    ("mutant", "figure", "least"),
    [
        (np.zeros_like, "flushed_count", 1024),
        (dropped_tail, "flushed_count", 32),
        (two_swapped, "wrong_order", 32),
        (next_row, "wrong_argmax", 20),
        (one_nan, "nonfinite", 1),
        (stalled_sum, "sum_residual", 0.49),
        (stalled_sum, "total_variation", 0.24),
        (uniform, "kl_divergence", 0.5),
        (approximate_exp, "kl_divergence", 1e-11),
        (one_lane_off, "max_relative", 1.9e-5),
        (half_precision_sum, "normwise_relative", 1e-5),
    ],
)
def test_the_figure_meant_for_it_shows_the_mutant(
    mutant: Callable[[Array], Array], figure: str, least: float
) -> None:
    healthy = getattr(summary(correct), figure)
    assert getattr(summary(mutant), figure) >= least
    assert healthy < least


def test_the_sum_residual_is_blind_to_a_bad_exp_and_the_ulp_error_is_not() -> None:
    bad, good = summary(approximate_exp), summary(correct)
    assert bad.sum_residual is not None
    assert bad.sum_residual < 1e-6
    assert bad.max_ulp > 50 * good.max_ulp


def test_zeros_pass_an_absolute_tolerance_and_no_judge_of_ours() -> None:
    x = np.random.default_rng(0).normal(size=(1, 100_000)).astype(np.float32)
    exact = softmax_exact(x)
    zeros = np.zeros_like(x)
    assert np.allclose(zeros, exact.to_float64(), atol=1e-3)
    assert summarise(zeros, exact).histogram["wrong"] == 100_000
    assert outcome(zeros, exact) == "zero"
    assert ratio(np.zeros_like, x) > 1.0


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_correctly_rounded_result_is_never_accused(dtype: str) -> None:
    rng = np.random.default_rng(1)
    for scale in (1e-3, 1.0, 30.0):
        x = (rng.normal(size=(10, 40)) * scale).astype(dtype)
        exact = softmax_exact(x)
        y = exact.round_to(dtype)
        s = summarise(y, exact, logits=x)
        assert s.max_ulp <= 0.5
        assert s.wrong_order == s.wrong_argmax == s.nonfinite == s.flushed_count == 0
        assert outcome(y, exact) == "exact"
        bound = evaluate_bound("shift_divide", x, exact)
        assert error_over_bound(y, exact, bound).max() <= 1.0
