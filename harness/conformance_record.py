"""The record of one case of the catalogue on one implementation, operation and format."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.catalogue.case import CaseResult, Kind, Verdict
from harness.records import Outcome, Record, Status


class ConformanceRecord(Record):
    """Verdict and class of outcome of one case; `workload` is the id of the case.

    ``failed`` is a failure or an unexpected pass, ``skipped`` and ``unsupported`` have their
    reason, everything else that was judged is ``ok``; a crash or a hang is ``crashed``.
    """

    experiment: Literal["conformance"] = "conformance"
    case: str | None = Field(default=None, description="id of the case, as `workload`")
    number: int | None = Field(default=None, description="in the numerics catalogue")
    title: str | None = None
    kind: Kind | None = None
    verdict: Verdict | None = None
    outcome: Outcome | None = Field(
        default=None, description="class of the most serious observation"
    )
    message: str | None = None
    deviation: str | None = Field(
        default=None, description="id of the declared deviation that explains it"
    )
    deviation_reason: str | None = None
    case_input: list[str] | None = Field(
        default=None, description="the row in hexadecimal, 64 elements at most, or how it was made"
    )
    got: str | None = Field(default=None, description="hexadecimal")
    expected: str | None = Field(default=None, description="hexadecimal, correctly rounded")
    error_ulp: float | None = None
    allowed_ulp: float | None = None
    observations: int | None = Field(
        default=None, description="calls or comparisons that were judged"
    )
    others: list[str] | None = Field(
        default=None, description="further ones of that grade, 8 at most"
    )
    upstream: list[str] | None = Field(default=None, description="issues in which it was reported")


def status_of(result: CaseResult) -> tuple[Status, str | None]:
    """The status of the record and its reason."""
    found = result.observation
    if result.verdict in ("skipped", "unsupported"):
        return result.verdict, result.reason
    if found is not None and found.outcome == "crashed":
        return "crashed", found.message
    if result.verdict in ("failure", "unexpected_pass"):
        return "failed", result.reason if found is None else found.message
    return "ok", None


def figures(result: CaseResult) -> dict[str, object]:
    """The fields of a `ConformanceRecord` beyond its coordinates."""
    case, found = result.case, result.observation
    status, reason = status_of(result)
    fields: dict[str, object] = {
        "status": status,
        "reason": reason,
        "verdict": result.verdict,
        "deviation": result.deviation,
        "deviation_reason": result.reason if result.verdict == "expected" else None,
        "observations": result.observations,
        "others": list(result.others) or None,
        "number": case.number,
        "title": case.title,
        "kind": case.kind,
        "upstream": list(case.upstream) or None,
    }
    if found is not None:
        fields |= {
            "outcome": found.outcome,
            "message": found.message or None,
            "case_input": list(found.input) or None,
            "got": found.got,
            "expected": found.expected,
            "error_ulp": found.error,
            "allowed_ulp": found.allowed,
        }
    return fields
