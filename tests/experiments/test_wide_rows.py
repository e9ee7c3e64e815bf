"""The judge of wide rows: its control, and what it can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.cases import wide_rows
from harness.experiments.conformance.observation import worst
from harness.numerics.formats import float_format, to_float64
from harness.worker.local import load


class Subject:
    """Answers from the exact result, rounded, after a change to it in float64."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.change, self.metadata = change, load("max_shift").metadata

    def perform(self, steps: list[Step], timeout: float) -> list[Result]:
        found = []
        for step in steps:
            (x,) = step.arrays
            wide = to_float64(x)
            e = np.exp(wide - wide.max(axis=-1, keepdims=True))
            y = self.change(e / e.sum(axis=-1, keepdims=True)).astype(x.dtype)
            found.append(Result((y,), (x.dtype.name,)))
        return found


def judged(change: Callable[[Any], Any], dtype: str = "float32", bound: str = "generic") -> Any:
    trial = Trial(
        Subject(change), "wide-rows", None, "softmax", dtype, Arithmetic(bound=bound),
        thorough=False, budget_s=60.0,
    )  # type: ignore[arg-type] # fmt: skip
    return worst(list(wide_rows.ordinary(trial)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_rounded_exact_result_passes(dtype: str) -> None:
    assert judged(lambda y: y, dtype).grade == "pass"


@pytest.mark.parametrize(("factor", "grade"), [(1 + 2e-6, "pass"), (1 + 1e-4, "failure"),
                                               (1 - 1e-4, "failure"), (np.nan, "failure"),
                                               (0.0, "failure")])  # fmt: skip
def test_a_factor_of_the_row_is_told(factor: float, grade: str) -> None:
    found = judged(lambda y: y * factor)
    assert found.grade == grade
    assert grade == "pass" or "a row is off as a whole" in found.message


def test_a_factor_is_a_finding_where_a_bound_is_declared() -> None:
    assert judged(lambda y: y * (1 + 1e-4), bound="shift_divide").grade == "finding"


@pytest.mark.parametrize("place", [slice(7, None, 32), slice(4096, 4224), slice(-1, None)])
def test_an_error_of_some_elements_is_told_whatever_is_declared(place: slice) -> None:
    def change(y: Any) -> Any:
        y[:, place] *= 1 + 1e-5
        return y

    found = judged(change, bound="shift_divide")
    assert found.grade == "failure"
    assert "elements of a row differ" in found.message


@pytest.mark.parametrize(
    ("name", "terms", "least", "most"),
    [
        ("float32", np.ones(1000), 0.0, 0.0),
        ("float16", np.ones(4096), 1000.0, np.inf),  # one after the other they stall at 2048
        ("float32", np.random.default_rng(0).random(100_000), 4.0, 1e4),
        ("float64", np.array([1.0, -1.0] * 50), 0.0, 0.0),
    ],
)
def test_the_control_is_the_error_of_real_orders(
    name: str, terms: Any, least: float, most: float
) -> None:
    assert least <= wide_rows.summation_error(terms, float_format(name)) <= most


def test_the_control_takes_a_stalled_sum_over_what_it_has_become() -> None:
    stalled = wide_rows.summation_error(np.ones(1 << 14), float_format("float16"))
    assert stalled * 2.0**-11 == pytest.approx(7.0)  # 16384 / 2048 - 1
