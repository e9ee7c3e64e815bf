"""Every class of outcome, once; and the order in which they are tried."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from harness.numerics.outcomes import Outcome, outcome, row_outcomes
from harness.numerics.ulps import ulp_error
from harness.reference import softmax_exact

X = np.array([0.0, -1.0, -3.0], dtype=np.float32)
P = softmax_exact(X).round_to("float32")
NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        (P, "exact"),
        (np.nextafter(P, np.float32(1)), "accurate"),
        (P * np.float32(1.001), "inaccurate"),
        ([NAN, P[1], P[2]], "nan"),
        ([NAN, INF, 0.0], "nan"),
        ([INF, P[1], P[2]], "inf"),
        ([0.0, 0.0, 0.0], "zero"),
        ([0.0, P[1], P[2]], "zero"),
        ([P[0], P[1], 0.0], "wrong"),
        ([P[1], P[0], P[2]], "wrong"),
        ([-P[0], P[1], P[2]], "wrong"),
    ],
)
def test_the_class_of_a_finite_row(computed: list[float], expected: Outcome) -> None:
    got = outcome(np.asarray(computed, dtype=np.float32), softmax_exact(X), tolerance=2.0)
    assert got == expected


def test_a_finite_answer_to_a_convention_is_wrong() -> None:
    exact = softmax_exact(np.array([INF, 0.0]))
    assert outcome(np.array([1.0, 0.0]), exact) == "wrong"
    assert outcome(np.array([INF, 0.0]), exact) == "inf"
    assert outcome(np.array([NAN, NAN]), exact) == "exact"


def test_an_infinite_tolerance_excuses_no_nan() -> None:
    computed = np.array([NAN, P[1], P[2]], dtype=np.float32)
    assert outcome(computed, softmax_exact(X), tolerance=np.inf) == "nan"


def test_a_subnormal_flushed_to_zero_is_inaccurate_not_zero() -> None:
    x = np.array([100.0, 0.0], dtype=np.float32)
    assert outcome(np.array([1.0, 0.0], dtype=np.float32), softmax_exact(x)) == "inaccurate"


def test_a_result_that_rounds_to_zero_is_exact() -> None:
    x = np.array([104.0, 0.0], dtype=np.float32)
    assert outcome(np.array([1.0, 0.0], dtype=np.float32), softmax_exact(x)) == "exact"


def test_classes_of_rows_are_those_of_each_row() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(scale=20.0, size=(400, 4)).astype(np.float32)
    x[::7, 0], x[::11, 1], x[::13, 2] = np.nan, np.inf, -np.inf
    exact = softmax_exact(x)
    y = exact.round_to("float32")
    faults = (1.0, 1 + 2**-20, 0.0, np.nan, np.inf, -1.0, 2.0)
    drawn = rng.choice(faults, size=y.shape, p=(0.88, *6 * (0.02,)))
    with np.errstate(all="ignore"):
        y = (y * drawn).astype(np.float32)
    error = ulp_error(y, exact)
    tolerance = np.where(rng.random(y.shape) < 0.1, np.inf, 4.0)
    got = row_outcomes(y, exact, tolerance=tolerance, error=error)
    assert got == [outcome(y[i], exact[i], tolerance=tolerance[i]) for i in range(len(y))]
    assert set(got) == set(get_args(Outcome))
