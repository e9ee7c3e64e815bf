"""A case of the catalogue, and the words for what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness.records import Outcome

if TYPE_CHECKING:
    from harness.experiments.conformance.case_run import Trial

Kind = Literal["contradiction", "convention", "finding"]
"""What a deviation from the expected result is: against mathematics or the contract (a failure),
a legitimate difference between libraries (shown), or a weakness worth knowing (a finding)."""

Grade = Literal["pass", "finding", "failure"]

Verdict = Literal[
    "pass", "failure", "finding", "expected", "unexpected_pass", "unsupported", "skipped"
]

GRADES: tuple[Grade, ...] = ("pass", "finding", "failure")

SEVERITY: tuple[Outcome, ...] = (
    "exact", "accurate", "limit", "nan", "inf", "zero", "inaccurate", "raises", "wrong", "crashed",
)  # fmt: skip

OPERATIONS = ("softmax", "log_softmax", "logsumexp", "softmax_backward", "cross_entropy")
ALONG_AXIS = ("softmax", "log_softmax", "logsumexp", "softmax_backward")
OF_LOGITS = ("softmax", "log_softmax", "logsumexp")
ELEMENTWISE = ("softmax", "log_softmax")
FLOATS = ("float64", "float32", "float16", "bfloat16")
NATIVE = ("float64", "float32")

PYTORCH = "https://github.com/pytorch/pytorch/issues/"
JAX = "https://github.com/jax-ml/jax/issues/"
SCIPY = "https://github.com/scipy/scipy/issues/"


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


@dataclass(frozen=True)
class Case:
    """One entry of the catalogue.

    Attributes:
        id: stable name; number and slug (``"15-saturated-log"``).
        number: of the numerics catalogue, None for those without.
        title: what goes in and what must come out, in a line.
        judge: yields what it observes on a subject, through a `Trial`.
        operations, dtypes: to which it applies.
        kind: what a deviation is.
        deviations: ids of declared deviations that explain a failure or finding here.
        upstream: issues in which it was reported.
        convention: what is expected where mathematics has no answer.
        heavy: needs gigabytes or long; not in the default profile.
    """

    id: str
    number: int | None
    title: str
    judge: Callable[[Trial], Sequence[Observation]]
    operations: tuple[str, ...] = OPERATIONS
    dtypes: tuple[str, ...] = FLOATS
    kind: Kind = "contradiction"
    deviations: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    convention: str | None = None
    heavy: bool = False

    def applies(self, operation: str, dtype: str) -> bool:
        return operation in self.operations and dtype in self.dtypes


@dataclass(frozen=True)
class CaseResult:
    """The verdict on one case, for one implementation, operation and dtype.

    Attributes:
        case: the case.
        verdict: see `Verdict`; ``expected`` is a declared deviation that showed.
        observation: the most serious one.
        deviation: id of the declared deviation that explains it, or None.
        reason: of a verdict without an observation, or of the declared deviation.
        observations: how many were made.
        others: further failures, in one line each (8 at most).
    """

    case: Case
    verdict: Verdict
    observation: Observation | None = None
    deviation: str | None = None
    reason: str | None = None
    observations: int = 0
    others: tuple[str, ...] = field(default=())


def worst(observations: Sequence[Observation]) -> Observation:
    """The most serious: by grade, then by outcome; the first of equals."""
    return max(
        observations,
        key=lambda o: (GRADES.index(o.grade), SEVERITY.index(o.outcome)),
    )
