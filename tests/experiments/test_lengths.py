"""The cases of lengths: what is inaccuracy in a very long row, and what is a lost result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.cases import lengths
from harness.experiments.conformance.observation import worst
from harness.worker.local import load


class Constant:
    """Gives one value, whatever it is asked."""

    def __init__(self, value: float) -> None:
        self.value, self.metadata = value, load("max_shift").metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        shape = (2, 1, 2)  # the least and the greatest of all rows, which are alike
        return [
            Result(
                (np.full(shape, self.value, s.arrays[0].dtype), np.zeros(shape, np.int64)),
                (s.arrays[0].dtype.name,),
                (s.full_shape(),),
            )
            for s in steps
        ]


@pytest.mark.parametrize(
    ("value", "grade"),
    [
        (2.0**-25, "pass"),
        (2.0**-24, "finding"),  # the sum stalled halfway
        (0.0, "failure"),
        (np.nan, "failure"),
        (1.0, "failure"),
        (2.0**-29, "failure"),
        (-(2.0**-25), "failure"),
    ],
)
def test_a_result_without_a_right_digit_fails_whatever_the_kind_of_its_case(
    monkeypatch: pytest.MonkeyPatch, value: float, grade: str
) -> None:
    monkeypatch.setattr(lengths, "_STALL_BYTES", 0)  # nothing large is made here
    trial = Trial(Constant(value), "26-stalled-float32", 26, "softmax", "float32", Arithmetic())
    assert worst(lengths.stalled_float32(trial)).grade == grade
