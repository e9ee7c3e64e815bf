"""What one call of an implementation showed: its grade, its outcome, and how serious it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.experiments.conformance.call import Result, Step
from harness.numerics.outcomes import severity
from harness.records import Outcome

Grade = Literal["pass", "finding", "failure"]

GRADES: tuple[Grade, ...] = ("pass", "finding", "failure")


@dataclass(frozen=True, eq=False)
class FailingCall:
    """The call in which something was seen, so that it can be made again.

    Attributes:
        step: the call.
        before: the calls that were made just before it, in their order.
        judge: what a call of its kind shows, by the limits of its case; None for those of the
            operation (`Trial.observe`).
        part, place: which result, and where in its rows: (row, class), or (row,).
    """

    step: Step
    before: tuple[Step, ...] = ()
    judge: Callable[[Step, Result], Observation] | None = None
    part: int = 0
    place: tuple[int, ...] = ()


@dataclass(frozen=True)
class Observation:
    """What one call (or one comparison of calls) showed.

    Attributes:
        grade: what it means.
        outcome: class of outcome, in the words of the catalogue.
        message: one line in the style ``out[3]=nan, but should be 0.5 [softmax(x, axis=-1),
            float32, case 15]``; empty where it passed.
        input: the row in question in hexadecimal (64 elements at most), else how it was made.
        got, expected: the value in question in hexadecimal, or in words.
        error: ulps, where there is one.
        allowed: ulps.
        call: the call, where it was one.
    """

    grade: Grade
    outcome: Outcome
    message: str = ""
    input: tuple[str, ...] = ()
    got: str | None = None
    expected: str | None = None
    error: float | None = None
    allowed: float | None = None
    call: FailingCall | None = field(default=None, compare=False, repr=False)


class Skip(Exception):
    """A case that cannot be judged here; the message is the reason."""


class Broken(Exception):
    """A call that broke the contract, which is then all that is said of the case."""

    def __init__(self, observation: Observation) -> None:
        super().__init__(observation.message)
        self.observation = observation


def worst(observations: Sequence[Observation]) -> Observation:
    """The most serious: by grade, then by outcome; the first of equals."""
    return max(
        observations,
        key=lambda o: (GRADES.index(o.grade), severity(o.outcome)),
    )
