"""The record of one published claim, audited."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from harness.records.base import Record, maybe

_STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

ClaimVerdict = Literal[
    "holds", "holds to the digits printed", "wrong", "misleading", "not yet measured"
]

Role = Literal["claim", "premise", "remark"]
"""`claim`: what is asserted. `premise`: what it is said to follow from. `remark`: context that
takes no part in the verdict."""


@dataclass(frozen=True, config=_STRICT)
class PrintedNumber:
    """One number of a worked example, held against the certified value.

    Attributes:
        label: which number.
        claimed: as printed.
        certified: the true value to more digits than printed.
        rounded: the true value rounded to the digits printed.
        exact: claimed equals the true value.
        to_the_digits: claimed is the true value to half a unit of its last digit.
    """

    label: str
    claimed: str
    certified: str
    rounded: str
    exact: bool
    to_the_digits: bool


@dataclass(frozen=True, config=_STRICT)
class Finding:
    """One thing that was checked.

    Attributes:
        statement: what was checked, a sentence that is true or false of each case.
        cases: how many cases were tried; 0 where the measurement decided nothing.
        held: in how many of them it was so.
        measured: the numbers, in words.
        role: its part in the verdict.
        figures: the same numbers for programs, by name; units are in the name.
    """

    statement: str
    cases: int
    held: int
    measured: str
    role: Role = "claim"
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.held <= self.cases:
            raise ValueError(
                f"finding {self.statement!r}: expected 0 <= held <= cases; "
                f"got {self.held} of {self.cases}"
            )


@dataclass(frozen=True, config=_STRICT)
class EvidenceTable:
    """A measured or certified series behind a verdict."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class ClaimRecord(Record):
    """A statement about softmax as published, what it really is, and the verdict.

    `workload` is the claim's id; `implementation` is ``"reference"``. ``skipped`` where the claim
    has not been measured yet.
    """

    experiment: Literal["claims"] = "claims"
    claim: str | None = maybe("id in the register, such as A1")
    claim_kind: str | None = None
    source_id: str | None = None
    source_title: str | None = None
    place: str | None = maybe("where the source says it: section, theorem, table")
    source_setting: str | None = maybe("what the source measured or computed on")
    claimed: str | None = maybe("the formula or the numbers, quoted")
    certified: str | None = None
    verdict: ClaimVerdict | None = None
    because: str | None = maybe("what decided the verdict")
    derivation: str | None = None
    note: str | None = None
    differs: str | None = maybe("where what was found differs from the source, and why")
    numbers: list[PrintedNumber] | None = None
    findings: list[Finding] | None = None
    tables: list[EvidenceTable] | None = None
