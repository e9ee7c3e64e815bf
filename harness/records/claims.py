"""The record of one published claim, audited."""

from __future__ import annotations

from typing import Any, Literal

from harness.records.base import Record, maybe

ClaimVerdict = Literal[
    "holds", "holds to the digits printed", "wrong", "misleading", "not yet measured"
]


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
    claimed: str | None = maybe("the formula or the numbers, quoted")
    certified: str | None = None
    verdict: ClaimVerdict | None = None
    because: str | None = maybe("what decided the verdict")
    derivation: str | None = None
    note: str | None = None
    numbers: list[dict[str, Any]] | None = None
    findings: list[dict[str, Any]] | None = None
    tables: list[dict[str, Any]] | None = None
