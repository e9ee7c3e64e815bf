"""What every record has: the coordinates of a cell, its status, and why there are no numbers."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Status = Literal[
    "ok",
    "failed",
    "unsupported",
    "unavailable",
    "error",
    "crashed",
    "timeout",
    "out_of_memory",
    "skipped",
]

Outcome = Literal[
    "exact",
    "accurate",
    "inaccurate",
    "limit",
    "nan",
    "zero",
    "inf",
    "raises",
    "wrong",
    "crashed",
]


def maybe(description: str) -> Any:
    """A field that is None where there is nothing to record, and what it holds."""
    return Field(default=None, description=description)


class Strict(BaseModel):
    """Unknown fields are refused; non-finite numbers are strings, for strict JSON."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_inf_nan="strings", protected_namespaces=()
    )


class Witness(Strict):
    """One call on which an implementation is wrong, as small as was found.

    Attributes:
        text: a line of Python; the comment at its end says what it gives, and what it should.
        got, expected: decimal, with as many digits as tell the two apart, or in words.
        difference: in ulps where they are few, else relative; or in words.
        rows, classes: size of the input, as in a record.
    """

    text: str
    got: str
    expected: str
    difference: str
    rows: int
    classes: int


class Record(Strict):
    """The coordinates of a cell, its status, and what it cost to measure.

    Attributes:
        experiment: which experiment measured it; selects the record's own numbers.
        implementation: name of the implementation (a limit has the name of its copy kernel).
        operation: ``"softmax"``, ...; ``"copy"`` for a limit.
        dtype: name of the format of input and output.
        device: ``"cpu"`` or ``"cuda"``.
        threads: threads the implementation was given; None where it was left alone.
        workload: workload id, such as ``"normal(scale=10)"``.
        classes, rows: length of the softmax axis, and the product of the others.
        seed: seed of the workload.
        status, reason: what happened; the reason is there for every status but ``ok``.
        elapsed_s: seconds the cell took, reference included.
        host: the machine that made it, as `hosts` of run.json has it, where a scheduler had it
            made; of a cell that several made, all of them.
    """

    experiment: str
    implementation: str
    operation: str = "softmax"
    dtype: str | None = None
    device: str | None = None
    threads: int | None = None
    workload: str | None = None
    classes: int | None = None
    rows: int | None = None
    seed: int | None = None
    status: Status
    reason: str | None = None
    elapsed_s: float | None = None
    host: str | None = None

    def ended(self, status: Status, reason: str) -> Self:
        """The record of this cell if it gave no numbers: its coordinates, status and reason."""
        return self.model_copy(update={"status": status, "reason": reason})
