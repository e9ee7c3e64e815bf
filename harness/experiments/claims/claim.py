"""What a published claim is, what was found of it, and the audit that sets the two together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from harness.records.claims import ClaimVerdict, EvidenceTable, Finding, PrintedNumber, Role

Kind = Literal["numbers", "formula", "statement"]
"""`numbers`: printed values of a worked example. `formula`: an equation, claimed everywhere.
`statement`: a property in words."""


@dataclass(frozen=True)
class Source:
    """An article or a paper.

    Attributes:
        id: its file name in the collection, or the name under which it is reproduced.
        title: of a paper with authors, journal and year.
        setting: what it measured or computed on; empty where that plays no part.
    """

    id: str
    title: str
    setting: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim as published.

    Attributes:
        id: ``"A1"``, ...
        source: the article.
        kind: decides which rule gives the verdict.
        claimed: the formula or the numbers, quoted; or the sentence, paraphrased.
        note: what the audit takes the sentence to mean, or why there is no measurement yet.
        place: where the source says it: section, theorem, table.
    """

    id: str
    source: Source
    kind: Kind
    claimed: str
    note: str = ""
    place: str = ""


def counted(
    statement: str,
    held: Iterable[Any],
    measured: str,
    role: Role = "claim",
    figures: dict[str, Any] | None = None,
) -> Finding:
    """A finding of a truth value for each case."""
    cases = [bool(h) for h in held]
    return Finding(statement, len(cases), sum(cases), measured, role, figures or {})


@dataclass(frozen=True)
class Evidence:
    """What the examination of a claim found; `verdicts.decide` makes the verdict from it.

    Attributes:
        differs: where that differs from what the source found, and why.
    """

    certified: str
    derivation: str
    numbers: tuple[PrintedNumber, ...] = ()
    findings: tuple[Finding, ...] = ()
    tables: tuple[EvidenceTable, ...] = ()
    differs: str = ""


@dataclass(frozen=True)
class Audit:
    """A claim with its verdict and what stands behind it."""

    claim: Claim
    verdict: ClaimVerdict
    reason: str
    evidence: Evidence
