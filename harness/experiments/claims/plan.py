"""Published claims as cells: each audited from first principles, with what decided the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from harness.experiments.claims.register import CLAIMS
from harness.experiments.context import Context, Unit
from harness.records import ClaimRecord, Record

if TYPE_CHECKING:
    from harness.experiments.claims.claim import Audit

_LONG = ("B4", "C3", "D3", "D5", "D7")


def coordinates(claim: str) -> ClaimRecord:
    """The record of a claim that is still to be audited."""
    return ClaimRecord(implementation="reference", workload=claim, claim=claim, status="skipped")


def record_of(audit: Audit, elapsed_s: float | None = None) -> ClaimRecord:
    """The record of a claim that was audited in so many seconds."""
    cell = coordinates(audit.claim.id).model_dump()
    return ClaimRecord.model_validate({**cell, **_figures(audit), "elapsed_s": elapsed_s})


def _figures(audit: Audit) -> dict[str, Any]:
    claim = audit.claim
    evidence = to_jsonable_python(audit.evidence, fallback=lambda number: number.item())
    unmeasured = audit.verdict == "not yet measured"
    return {
        **{name: value or None for name, value in evidence.items()},  # named as in the record
        "status": "skipped" if unmeasured else "ok",
        "reason": audit.evidence.derivation if unmeasured else None,
        "claim_kind": claim.kind,
        "source_id": claim.source.id,
        "source_title": claim.source.title,
        "place": claim.place or None,
        "source_setting": claim.source.setting or None,
        "claimed": claim.claimed,
        "verdict": audit.verdict,
        "because": audit.reason,
        "note": claim.note or None,
    }


def _measure(claim: str) -> Iterator[Record]:
    from harness.experiments.claims.audit import audit_claims  # Arb: not for other runs

    started = time.perf_counter()
    (audit,) = audit_claims([claim])
    yield record_of(audit, time.perf_counter() - started)


def plan(_: Context) -> Iterator[Unit]:
    """A unit for each claim of the register."""
    for claim in CLAIMS:
        weight = 0.5 if claim.id in _LONG else 0.05
        yield Unit(
            "claims",
            f"claim {claim.id}",
            (coordinates(claim.id),),
            partial(_measure, claim.id),
            weight,
            timed=True,
        )
