"""What a published claim is, what was found of it, and the audit that sets the two together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.records import ClaimVerdict

Kind = Literal["numbers", "formula", "statement", "training"]
"""`numbers`: printed values of a worked example. `formula`: an equation, claimed everywhere.
`statement`: a property in words. `training`: needs a training run."""

Role = Literal["claim", "premise", "remark"]
"""`claim`: what is asserted. `premise`: what it is said to follow from. `remark`: context that
takes no part in the verdict."""


@dataclass(frozen=True)
class Source:
    """An article: its file name in the collection, and its title."""

    id: str
    title: str


@dataclass(frozen=True)
class Claim:
    """One claim as published.

    Attributes:
        id: ``"A1"``, ...
        source: the article.
        kind: decides which rule gives the verdict.
        claimed: the formula or the numbers, quoted; or the sentence, paraphrased.
        note: what the audit takes the sentence to mean, or why there is no measurement yet.
    """

    id: str
    source: Source
    kind: Kind
    claimed: str
    note: str = ""


@dataclass(frozen=True)
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
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.held <= self.cases:
            raise ValueError(
                f"finding {self.statement!r}: expected 0 <= held <= cases; "
                f"got {self.held} of {self.cases}"
            )


def counted(
    statement: str,
    held: Iterable[Any],
    measured: str,
    role: Role = "claim",
    figures: Mapping[str, Any] | None = None,
) -> Finding:
    """A finding of a truth value for each case."""
    cases = [bool(h) for h in held]
    return Finding(statement, len(cases), sum(cases), measured, role, figures or {})


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class EvidenceTable:
    """A measured or certified series behind a verdict."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Evidence:
    """What the examination of a claim found; `verdicts.decide` makes the verdict from it."""

    certified: str
    derivation: str
    numbers: tuple[PrintedNumber, ...] = ()
    findings: tuple[Finding, ...] = ()
    tables: tuple[EvidenceTable, ...] = ()


@dataclass(frozen=True)
class Audit:
    """A claim with its verdict and what stands behind it."""

    claim: Claim
    verdict: ClaimVerdict
    reason: str
    evidence: Evidence
