"""What one call of an implementation showed: its grade, its outcome, and how serious it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.numerics.outcomes import severity
from harness.records import Outcome

Grade = Literal["pass", "finding", "failure"]

GRADES: tuple[Grade, ...] = ("pass", "finding", "failure")


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
    """

    grade: Grade
    outcome: Outcome
    message: str = ""
    input: tuple[str, ...] = ()
    got: str | None = None
    expected: str | None = None
    error: float | None = None
    allowed: float | None = None


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
