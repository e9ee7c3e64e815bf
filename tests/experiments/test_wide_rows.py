"""The judge of wide rows: its control, and what it can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case import FLOATS, OPERATIONS
from harness.experiments.conformance.case_run import Trial, softmax_like
from harness.experiments.conformance.cases import wide_rows
from harness.experiments.conformance.observation import worst
from harness.numerics.formats import float_format, to_float64
from harness.reference.memo import certified
from harness.worker.local import load


class Subject:
    """Answers from the exact result, rounded, after a change to it in float64."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.change, self.metadata = change, load("max_shift").metadata

    def perform(self, steps: list[Step], timeout: float) -> list[Result]:
        found = []
        for step in steps:
            (x,) = step.arrays
            wide = np.moveaxis(to_float64(x), step.axis, -1)  # type: ignore[arg-type]
            e = np.exp(wide - wide.max(axis=-1, keepdims=True))
            y = self.change(e / e.sum(axis=-1, keepdims=True)).astype(x.dtype)
            found.append(Result((np.moveaxis(y, -1, step.axis),), (x.dtype.name,)))  # type: ignore[arg-type]
        return found


def trial_of(
    change: Callable[[Any], Any], dtype: str = "float32", bound: str = "generic",
    operation: str = "softmax", **fields: Any,
) -> Trial:  # fmt: skip
    given = {"thorough": False, "budget_s": 60.0, **fields}
    arithmetic = Arithmetic(bound=bound)
    subject: Any = Subject(change)
    return Trial(subject, "wide-rows", None, operation, dtype, arithmetic, **given)


def judged(change: Callable[[Any], Any], dtype: str = "float32", bound: str = "generic") -> Any:
    return worst(list(wide_rows.ordinary(trial_of(change, dtype, bound))))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_rounded_exact_result_passes(dtype: str) -> None:
    assert judged(lambda y: y, dtype).grade == "pass"


@pytest.mark.parametrize(("factor", "grade"), [(1 + 2e-6, "pass"), (1 + 1e-4, "failure"),
                                               (1 - 1e-4, "failure"), (np.nan, "failure"),
                                               (0.0, "failure")])  # fmt: skip
def test_a_factor_of_the_row_is_told(factor: float, grade: str) -> None:
    found = judged(lambda y: y * factor)
    assert found.grade == grade
    told = "a row is off as a whole" if factor > 0 else "a row is lost"
    assert grade == "pass" or told in found.message


def test_a_factor_is_a_finding_where_a_bound_is_declared() -> None:
    assert judged(lambda y: y * (1 + 1e-4), bound="shift_divide").grade == "finding"


@pytest.mark.parametrize("place", [slice(7, None, 32), slice(4096, 4224), slice(-1, None)])
def test_an_error_of_some_elements_is_told_whatever_is_declared(place: slice) -> None:
    def change(y: Any) -> Any:
        y[..., place] *= 1 + 1e-5
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


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_reference_is_the_certified_one(dtype: str) -> None:
    fmt = float_format(dtype)
    rng = np.random.default_rng(5)
    x = to_float64(np.clip(rng.normal(size=(2, 5000)), -4, 4).astype(fmt.dtype))
    y = to_float64(softmax_like(x.astype(fmt.dtype), -1, fmt))
    targets = np.array([0, 77])
    for operation, arrays in (
        ("softmax", (x,)), ("log_softmax", (x,)), ("logsumexp", (x,)),
        ("softmax_backward", (x, y)), ("cross_entropy", (x, targets)),
    ):  # fmt: skip
        right = certified(operation, *arrays)
        for mine, exact in zip(wide_rows.reference(fmt, operation, *arrays), right, strict=True):
            off = np.abs((mine.hi - exact.hi) + (mine.lo - exact.lo))
            size = np.abs(y) if operation == "softmax_backward" else np.abs(exact.hi)
            assert np.all(off <= 2.0**-8 * fmt.unit_roundoff * size + 2.0**-70)


def test_a_look_at_many_meets_every_family_and_all_sizes_along_every_axis() -> None:
    met = set()
    for operation in OPERATIONS:
        for dtype in FLOATS:
            chosen = wide_rows.widths(trial_of(lambda y: y, dtype, operation=operation))
            assert [w.classes % 2 for w in chosen] == [0, 1, 1, 0, 1, 1]
            assert len({(w.classes - 1).bit_length() for w in chosen}) == 6
            met |= {(i, (w.classes - 1).bit_length(), w.axis) for i, w in enumerate(chosen)}
    for family in range(6):
        own = {(bits, axis) for i, bits, axis in met if i == family}
        assert len({bits for bits, _ in own}) == 6
        assert {axis for _, axis in own} == {-1, 0, 1}


def test_thorough_judgement_asks_every_family_at_every_size() -> None:
    chosen = wide_rows.widths(trial_of(lambda y: y, thorough=True))
    assert len({w.classes for w in chosen}) == len(chosen) == 54
    assert max(w.classes for w in chosen) > 1 << 20
    few = wide_rows.widths(trial_of(lambda y: y))
    assert {w.classes for w in few} < {w.classes for w in chosen}


@pytest.mark.parametrize("value", [0.0, 1e-6, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("least", [30_000, 900_000])
def test_a_row_without_a_right_digit_is_told_at_any_named_count(
    value: float, dtype: str, least: int
) -> None:
    def change(y: Any) -> Any:
        return np.full_like(y, value) if y.shape[-1] > least else y

    found = worst(list(wide_rows.named(trial_of(change, dtype))))
    assert found.grade == "failure"
    assert "a row is lost" in found.message


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_right_rows_of_named_counts_pass(dtype: str) -> None:
    assert worst(list(wide_rows.named(trial_of(lambda y: y, dtype)))).grade == "pass"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lost", [0, 1, 1023, 2047, 4095, -1, -2])
def test_one_element_that_the_sum_lacks_is_told(dtype: str, lost: int) -> None:
    def change(y: Any) -> Any:
        without = y.sum(axis=-1, keepdims=True) - y[..., [lost]]
        return np.divide(y, without, out=np.zeros_like(y), where=without > 0)

    assert worst(list(wide_rows.exact_sums(trial_of(change, dtype)))).grade == "failure"
