"""From the judgement of a case to its record: the status, and the fields beyond the coordinates."""

from __future__ import annotations

from harness.experiments.conformance.case import CaseResult
from harness.records import ConformanceRecord, Status

__all__ = ["ConformanceRecord", "figures", "status_of"]


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
