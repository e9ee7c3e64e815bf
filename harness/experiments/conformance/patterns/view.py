"""One result of a failing call beside what it should be, in rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import PROBABILITIES, Step
from harness.experiments.conformance.case_run import vanishing
from harness.experiments.conformance.expected import (
    change_of,
    difference_of,
    expected_of,
    result_rows,
    step_rows,
)
from harness.experiments.conformance.python_line import Failing
from harness.numerics.formats import Float64Array, FloatFormat, to_float64, ulp
from harness.registry.contract import CHANGED

TILES = (8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024, 2048, 4096)
"""Widths of loops and tiles that are usual in kernels."""


@dataclass(frozen=True, eq=False)
class View:
    """One result of a call beside what it should be, in rows.

    Attributes:
        step: the call. part: which of its results. fmt: of the results.
        x: the first argument in rows; logits that the operation changes are changed.
        second: another one of that shape, or None.
        got, exact: (rows, classes), or (rows, 1).
        error: signed; relative for probabilities and gradients, absolute for logarithms.
        bad: where it is beyond what the operation's bound allows.
        row: the one in question.
    """

    step: Step
    part: int
    fmt: FloatFormat
    x: Float64Array
    second: Float64Array | None
    got: Float64Array
    exact: Float64Array
    error: Float64Array
    bad: Any
    row: int

    @property
    def logarithmic(self) -> bool:
        return _is_logarithm(self.step, self.part)

    @property
    def normal(self) -> Any:
        """Where an error says something: of relative ones, where the result is in normal range."""
        return (np.abs(self.exact) >= self.fmt.smallest_normal) | self.logarithmic


def _is_logarithm(step: Step, part: int) -> bool:
    """Whether errors of this result are absolute: it is a logarithm, or a loss."""
    return step.operation in ("log_softmax", "logsumexp") or (
        step.operation == "cross_entropy" and part == 0
    )


def view_of(failing: Failing, fmt: FloatFormat, arithmetic: Arithmetic) -> View | None:
    """The result in question in rows; None where there is none of the right shape."""
    step, result, call = failing.step, failing.result, failing.observation.call
    part = 0 if call is None else call.part
    expected = expected_of(step, fmt, arithmetic)
    if len(result.arrays) != len(expected):
        return None
    array, due = result.arrays[part], expected[part]
    got = to_float64(result_rows(array, step)) if array.size == due.exact.size else None
    if got is None or got.size == 0 or got.shape != due.exact.shape:
        return None
    columns = got.reshape(len(got), -1)
    exact = due.exact.reshape(*columns.shape)
    value = exact.to_float64()
    difference, _ = difference_of(columns, exact)
    logarithmic = _is_logarithm(step, part)
    size = np.abs(value)
    if step.operation == "softmax_backward":
        grad, y = map(to_float64, step_rows(step))
        size = np.abs(y) * (np.abs(grad) + np.abs(grad * y).sum(axis=1, keepdims=True))
    relative = np.where(np.abs(value) >= fmt.smallest_normal, difference / size, 0.0)
    allowed = due.allowed.reshape(columns.shape) * ulp(np.nan_to_num(value), fmt)
    bad = np.abs(difference) > allowed
    bad |= np.isnan(columns) != np.isnan(value)
    if step.operation in PROBABILITIES:
        bad |= (columns != 0) & vanishing(exact, fmt)
    x, *others = step_rows(step)
    numbers = (a for a in others if a.shape == x.shape and a.dtype == x.dtype)
    second = next(map(to_float64, numbers), None)
    x = to_float64(x)
    if step.operation in CHANGED:
        change, mask, _ = change_of(step)
        x = change.approximate(x, mask)
    place = (call.place if call is not None else ()) or (0,)
    return View(
        step, part, fmt, x, second, columns, value,
        difference if logarithmic else relative, bad & ~due.free.reshape(columns.shape),
        min(place[0], len(columns) - 1),
    )  # fmt: skip


def alike(a: Float64Array, b: Float64Array) -> Any:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def noise_of(view: View, off: Float64Array) -> float:
    """The error that each element of a row has of its own; `off` is what the row does not share."""
    if not off.size:
        return np.inf
    return max(4.0 * float(np.median(np.abs(off))), 2.0 * view.fmt.unit_roundoff)
