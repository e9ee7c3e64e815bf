"""The smallest call and the diagnosis of a failure, on implementations whose fault is known.

The sentence must name the fault that the mutant was given; the line must show it when it is run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from local_subject import LocalSubject

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.catalogue import BY_ID
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.conformance.judge import Options, judge, judge_case
from harness.experiments.conformance.observation import Observation
from harness.experiments.conformance.patterns.places import positions
from harness.experiments.conformance.patterns.view import View
from harness.experiments.conformance.python_line import number, two_numbers
from harness.experiments.conformance.shrink import Budget, Prober, Spent
from harness.experiments.conformance.target import SubjectFault
from harness.numerics.formats import float_format
from harness.records import ConformanceRecord

MUTANTS = Path(__file__).parents[1] / "meta" / "mutants"
PATIENT_S = 60.0
"""No search ends for want of time here, however busy the machine is."""

NAMED: dict[str, tuple[str, str, str]] = {
    # mutant: case, operation, what the sentence must say
    "above_tile_128": ("2-some-masked", "softmax", "more than 128 classes"),
    "argmax": ("2-some-masked", "softmax", "an argmax"),
    "base_two": ("2-some-masked", "softmax", "powers of 2"),
    "cache_by_id": ("fresh-values", "softmax", "same array give the old result"),
    "cache_by_shape": ("2-some-masked", "softmax", "results are remembered"),
    "column_off": ("localised-strided", "softmax", "lane 7 of 8"),
    "count_100_bias": ("localised", "softmax", "rows of 100 classes"),
    "count_8193": ("31-tails", "softmax", "rows of 8,193 classes: only the last class is wrong"),
    "default_is_first": ("40-default-axis", "softmax", "without axis="),
    "double_softmax": ("2-some-masked", "softmax", "applied twice"),
    "dropped_tail_16": ("2-some-masked", "softmax", "rest of a loop over 16"),
    "dropped_tail_64": ("2-some-masked", "softmax", "rest of a loop over 64"),
    "exits_on_nan": ("8-nan", "softmax", "raises at a NaN: SystemExit"),
    "exp_1e_4": ("2-some-masked", "softmax", "exponential is inaccurate"),
    "exponential_of_one_interval": ("exponential", "softmax", "exponentials of -17 to -16"),
    "first_shift": ("2-some-masked", "softmax", "-inf (a masked logit) at the start of a row"),
    "flattened": ("2-some-masked", "softmax", "shape (1, "),
    "flushes_results": ("16-subnormal", "softmax", "below the normal range are flushed to 0"),
    "flushes_small": ("16-subnormal", "softmax", "small results become 0"),
    "gradient_from_logits": ("28-counts", "softmax_backward", "softmax once more"),
    "gradient_lane": ("localised", "softmax_backward", "lane 7 of 8"),
    "gradient_mean": ("28-counts", "softmax_backward", "mean of grad stands for"),
    "gradient_one_count": ("28-counts", "softmax_backward", "rows of 37 classes"),
    "gradient_sign": ("28-counts", "softmax_backward", "the sign is wrong"),
    "gradient_without_cross_term": ("28-counts", "softmax_backward", "diagonal of the Jacobian"),
    "half_accumulator": ("28-counts", "softmax", "the row's sum is wrong"),
    "half_exponentials": ("28-counts", "softmax", "exponentials are rounded to float16"),
    "ignores_mask": ("2-some-masked", "softmax", "-inf (a masked logit) is taken for"),
    "ignores_strides": ("35-transposed", "softmax", "strides are ignored"),
    "infinity_is_largest": ("5-one-infinity", "softmax", "+inf is taken for a finite number"),
    "input_overrun": ("36-gaps", "softmax", "memory beyond the end"),
    "lane_31_of_32": ("localised", "softmax", "lane 31 of 32"),
    "lane_3_of_4": ("localised", "softmax", "lane 3 of 4"),
    "lane_narrow_rows": ("localised", "softmax", "only class 3 of 5"),
    "last_entry_off": ("localised", "softmax", "only the last class"),
    "leading_axis_of_one": ("41-axes", "softmax", "along axis 1"),
    "log_base_two": ("28-counts", "log_softmax", "base 2"),
    "log_of_rounded": ("28-counts", "log_softmax", "1e-06 is added before the logarithm"),
    "log_without_sum": ("28-counts", "log_softmax", "logarithm of the sum is forgotten"),
    "logsumexp_is_a_view": ("10-one-class", "logsumexp", "rows of one class: the result is a view"),
    "logsumexp_max": ("28-counts", "logsumexp", "maximum of the row"),
    "logsumexp_mean": ("28-counts", "logsumexp", "mean of the exponentials"),
    "logsumexp_unshifted": ("11-overflow", "logsumexp", "maximum of the row is not subtracted"),
    "loss_clipped": ("21-tied-maxima", "cross_entropy", "gets beyond 16.118"),
    "loss_gradient_scaled": ("28-counts", "cross_entropy", "divided by the number of rows"),
    "loss_target_shifted": ("28-counts", "cross_entropy", "the class after the target"),
    "loss_without_target": ("28-counts", "cross_entropy", "1 is not subtracted at the target"),
    "masked_tile_nan": ("3-leading-masked", "softmax", "-inf (a masked logit) at the start"),
    "mutates": ("2-some-masked", "softmax", "the argument is written to"),
    "nan_first_row": ("8-nan", "softmax", "a NaN in one row spoils other rows"),
    "nan_is_zero": ("8-nan", "softmax", "a NaN among the logits is lost"),
    "negative_axis": ("41-axes", "softmax", "negative axes"),
    "negative_strides": ("36-reversed", "softmax", "negative strides"),
    "negative_zero": ("9-signed-zeros", "softmax", "-0 among the logits"),
    "never_vanishes": ("17-vanishing", "softmax", "cut off at a least number"),
    "odd_above_512": ("28-counts", "softmax", "odd number of classes"),
    "one_class_zero": ("10-one-class", "softmax", "rows of one class"),
    "online_no_rescale": ("28-counts", "softmax", "the row's sum is wrong"),
    "out_overruns": ("39-out", "softmax", "out= has gaps"),
    "plus_epsilon": ("10-one-class", "softmax", "1e-05 is added to the sum"),
    "plus_one": ("28-counts", "softmax", "1 is added to the sum"),
    "random": ("53-repeatable", "softmax", "same call gave another result before"),
    "row_off": ("localised", "softmax", "row 17"),
    "shared_buffer": ("51-input-unchanged", "softmax", "the next call uses again"),
    "single_inside": ("28-counts", "softmax", "digits of float32"),
    "sorted_output": ("28-counts", "softmax", "descending order"),
    "stalled_sum": ("23-constant", "softmax", "stalls: it does not grow beyond 2048"),
    "swaps_last_two": ("28-counts", "softmax", "the last two classes hold each other's result"),
    "tail_not_written": ("28-counts", "softmax", "rest of a loop over 16, are wrong"),
    "temperature": ("28-counts", "softmax", "multiplied by 0.9999"),
    "third_call": ("4-only-one-unmasked", "softmax", "same call gave another result before"),
    "uniform": ("28-counts", "softmax", "every class gets 1/n"),
    "unshifted": ("11-overflow", "softmax", "maximum of the row is not subtracted"),
    "whole_array": ("28-counts", "softmax", "over the whole array"),
    "wide_columns_wrap": ("wide-exact-sums", "softmax", "index of 16 bits wraps"),
    "wide_cubic_exponential": ("wide-rows", "softmax", "exponential is inaccurate"),
    "wide_gradient_sum_off": ("wide-rows", "softmax_backward", "sum of grad * y"),
    "wide_lane_of_the_sum": ("wide-rows", "softmax", "lane 7 of 32"),
    "wide_log_off": ("wide-rows", "log_softmax", "more than 8,192 classes: every element"),
    "wide_logsumexp_off": ("wide-exact-sums", "logsumexp", "more than 8,192 classes: every result"),
    "wide_reciprocal_12_bits": ("wide-rows", "softmax", "the row's sum is wrong"),
    "wide_sum_off": ("wide-rows", "softmax", "more than 30,000 classes: every element"),
    "wrong_axis": ("41-axes", "softmax", "the operation is done along axis"),
    "zeros": ("28-counts", "softmax", "every result is 0"),
}


def failure_of(name: str) -> ConformanceRecord:
    """The first failure of the case on the mutant, in the first format in which there is one."""
    case, operation, _ = NAMED[name]
    subject = LocalSubject.from_path(MUTANTS / f"{name}.py")
    options = Options(thorough=False, budget_s=0.3, cases=(case,), explain_s=PATIENT_S)
    for dtype in subject.metadata.dtypes or ("float32", "float64"):
        for record in judge(subject, operation, dtype, options=options):
            if record.verdict == "failure":
                return record
    raise AssertionError(f"{name} passes {case}")


def module_of(path: Path) -> ModuleType:
    """The implementation imported anew, without anything that it keeps from call to call."""
    spec = importlib.util.spec_from_file_location("fresh", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_line(text: str, module: ModuleType) -> Any:
    """The value of the last expression of a witness's line."""
    *statements, expression = text.split("  # ")[0].split("; ")
    names = {"np": np, **{k: v for k, v in vars(module).items() if not k.startswith("_")}}
    with np.errstate(all="ignore"):
        exec("\n".join(statements), names)
        return eval(expression, names)


@pytest.mark.parametrize("name", NAMED)
def test_fault_is_named_and_its_line_shows_it(name: str) -> None:
    record = failure_of(name)
    assert NAMED[name][2] in str(record.diagnosis)
    assert record.witness is not None
    got, expected = record.witness.got, record.witness.expected
    if got.startswith("raises"):
        with pytest.raises(BaseException, match="NaN"):
            run_line(record.witness.text, module_of(MUTANTS / f"{name}.py"))
        return
    value = run_line(record.witness.text, module_of(MUTANTS / f"{name}.py"))
    if got == "more than one result":
        assert value > 1
    elif got == "False":
        assert value is False
    elif record.witness.difference != "of another kind":
        digits = len(got.split("e")[0].replace("-", "").replace(".", "").lstrip("0")) or 1
        assert np.isclose(float(value), float(got), rtol=10.0 ** (1 - digits), equal_nan=True)
        assert got != expected


BODY = """
import numpy as np

def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""
OTHERS: dict[str, tuple[str, str, str]] = {
    # source, case, what the sentence must say
    "out_not_written": (
        "def softmax(x, axis=-1, out=None):\n    return _softmax(x, axis)\n",
        "39-out",
        "calls with out=: out= is never written",
    ),
    "every_thousandth": (
        "def softmax(x, axis=-1):\n    y = _softmax(x, axis).copy()\n"
        "    y.reshape(-1)[999::1000] *= x.dtype.type(1.01)\n    return y\n",
        "28-counts",
        "every 1,000th element of the array is wrong",
    ),
    "last_twice": (
        "def softmax(x, axis=-1):\n    z = np.moveaxis(x, axis, -1)\n"
        "    e = np.exp(z - z.max(axis=-1, keepdims=True))\n"
        "    s = e.sum(axis=-1, keepdims=True) + e[..., -1:]\n"
        "    return np.moveaxis(e / s, -1, axis)\n",
        "28-counts",
        "the sum counts the last entry of the row twice",
    ),
    "smoothed": (
        "def softmax(x, axis=-1):\n    u = x.dtype.type(0.01 / x.shape[axis])\n"
        "    return _softmax(x, axis) * x.dtype.type(0.99) + u\n",
        "28-counts",
        "0.99 times what it should be, plus",
    ),
    "rows_from_256": (
        "def softmax(x, axis=-1):\n    y = _softmax(x, axis)\n"
        "    if x.ndim == 2 and axis in (-1, 1):\n        y[256:] = y[255:256]\n    return y\n",
        "31-many-rows",
        "only the rows from 256 on are wrong",
    ),
    "half_of_the_gradient": (
        "def softmax_backward(grad, y, axis=-1):\n"
        "    return y * (grad - (grad * y).sum(axis=axis, keepdims=True)) * y.dtype.type(0.5)\n",
        "28-counts",
        "every result is 0.5 times what it should be",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_fault_of_a_file_is_named(name: str, tmp_path: Path) -> None:
    source, case, says = OTHERS[name]
    path = tmp_path / f"{name}.py"
    path.write_text(BODY + "\n\n" + source, encoding="utf-8")
    subject = LocalSubject.from_path(path)
    options = Options(thorough=False, budget_s=0.3, cases=(case,), explain_s=PATIENT_S)
    (record,) = judge(subject, subject.metadata.operations[0], "float32", options=options)
    assert record.verdict == "failure"
    assert says in str(record.diagnosis)


class Faulty:
    """An implementation in this process that hangs, or dies, where a row has a NaN."""

    def __init__(self, status: Any) -> None:
        self.inner = LocalSubject.from_path(MUTANTS.parent / "correct" / "shift_numpy.py")
        self.metadata = self.inner.metadata
        self.status = status
        self.faults = 0

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        if any(np.isnan(np.asarray(a, np.float64)).any() for s in steps for a in s.arrays):
            self.faults += 1
            raise SubjectFault(self.status, "run: the process was killed by SIGSEGV")
        return self.inner.perform(steps, timeout)


@pytest.mark.parametrize(
    ("status", "says", "comment"),
    [("timeout", "never comes back", "no answer"), ("crashed", "ends the process", "SIGSEGV")],
)
def test_call_that_hangs_or_kills_is_found(status: str, says: str, comment: str) -> None:
    subject = Faulty(status)
    trial = Trial(subject, "8-nan", 8, "softmax", "float32", Arithmetic(), thorough=False)
    explainer = Explainer()
    record = judge_case(BY_ID["8-nan"], trial, explainer=explainer)
    assert record.status == "crashed"
    assert record.diagnosis == f"a call {says} where a logit is NaN"
    assert record.witness is not None
    assert record.witness.text.startswith("softmax(np.float32([np.nan")
    assert comment in record.witness.text
    assert subject.faults <= 4
    again = judge_case(BY_ID["8-nan"], trial, explainer=explainer)
    assert (again.witness, again.diagnosis) == (None, None)  # told once


def test_first_call_that_hangs_is_not_tried_again() -> None:
    subject = Faulty("timeout")
    subject.first_s = None  # type: ignore[attr-defined]  # as of a worker that never answered
    trial = Trial(subject, "8-nan", 8, "softmax", "float32", Arithmetic(), thorough=False)
    record = judge_case(BY_ID["8-nan"], trial, Explainer())
    assert record.diagnosis == "the first calls never come back"
    assert subject.faults == 1


def test_nothing_is_asked_where_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("explained a case that passes")

    monkeypatch.setattr(Explainer, "explain", never)
    subject = LocalSubject.from_path(MUTANTS.parent / "correct" / "shift_numpy.py")
    options = Options(thorough=False, budget_s=0.3, cases=("2-some-masked", "53-repeatable"))
    records = list(judge(subject, "softmax", "float32", options=options))
    assert [r.verdict for r in records] == ["pass", "pass"]
    assert {(r.witness, r.diagnosis) for r in records} == {(None, None)}


def test_a_search_ends_with_its_budget() -> None:
    asked = []

    def perform(steps: Sequence[Step]) -> list[Result]:
        asked.append(steps)
        return [Result()]

    prober = Prober(perform, lambda step, result: Observation("failure", "wrong"), Budget(60.0, 3))
    step = Step("softmax", (np.zeros(3, np.float32),))
    for _ in range(3):
        prober.tried(step)
    with pytest.raises(Spent):
        prober.tried(step)
    assert len(asked) == 3


def test_failures_share_the_seconds_of_their_unit() -> None:
    subject = LocalSubject.from_path(MUTANTS / "zeros.py")
    options = Options(thorough=False, budget_s=0.3, cases=("2-some-masked",), explain_s=0.0)
    (record,) = judge(subject, "softmax", "float32", options=options)
    assert record.verdict == "failure"
    assert (record.witness, record.diagnosis) == (None, None)


def test_a_defect_of_the_search_leaves_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("harness.experiments.conformance.explanation.explained", broken)
    subject = LocalSubject.from_path(MUTANTS / "zeros.py")
    options = Options(thorough=False, budget_s=0.3, cases=("2-some-masked",))
    (record,) = judge(subject, "softmax", "float32", options=options)
    assert record.verdict == "failure"
    assert record.diagnosis == "(no diagnosis: ZeroDivisionError: a defect)"


@pytest.mark.parametrize(
    ("got", "expected", "told"),
    [
        (0.25, 0.2689414, ("0.25", "0.269")),
        (0.00194932, 0.00195312, ("0.0019493", "0.0019531")),
        (0.333333343, 0.333333313, ("0.333333343", "0.333333313")),
        (float("nan"), 1.0, ("nan", "1")),
    ],
)
def test_digits_tell_two_numbers_apart(got: float, expected: float, told: tuple[str, str]) -> None:
    assert two_numbers(got, expected) == told


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.1, "float32", "0.1"),
        (-0.0, "float32", "-0.0"),
        (104.0, "float32", "104"),
        (float("-inf"), "float32", "-np.inf"),
        (3.4028234663852886e38, "float32", "3.4028235e38"),
        (1 / 3, "float16", "0.3333"),
        (1 / 3, "float64", "0.3333333333333333"),
    ],
)
def test_number_is_the_shortest_text_of_the_format(value: float, dtype: str, text: str) -> None:
    fmt = float_format(dtype)
    assert number(value, fmt) == text
    if np.isfinite(value):
        with np.errstate(over="ignore"):
            assert float(np.float64(text).astype(fmt.dtype)) == float(fmt.dtype.type(value))


@pytest.mark.parametrize(("few", "said"), [(16, None), (1024, "only lane 7 of 32")])
def test_where_few_results_are_left_no_class_is_blamed(few: int, said: str | None) -> None:
    exact = np.zeros((1, 1024))
    exact[0, :few] = 1.0 / few
    got = exact.copy()
    got[0, 7::32] *= 1.001
    step = Step("softmax", (np.where(exact > 0, 0.0, -np.inf),))
    view = View(
        step, 0, float_format("float64"), step.arrays[0], None, got, exact,
        np.where(exact > 0, got / np.maximum(exact, 1e-9) - 1.0, 0.0), got != exact, 0,
    )  # fmt: skip
    found = positions(view)
    assert found is None if said is None else str(found).startswith(said)
