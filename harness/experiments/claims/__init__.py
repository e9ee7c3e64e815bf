"""Published statements about softmax, recomputed from first principles.

The register holds the claims as data; an examination gives figures; a rule turns figures into a
verdict (`verdicts.decide`), and no verdict is written down anywhere.
"""

from harness.experiments.claims.audit import as_json, as_rows, audit_claims
from harness.experiments.claims.claim import (
    VERDICTS,
    Audit,
    Claim,
    Evidence,
    Finding,
    PrintedNumber,
    Source,
    Table,
    Verdict,
)
from harness.experiments.claims.register import CLAIMS
from harness.experiments.claims.verdicts import decide

__all__ = [
    "CLAIMS",
    "VERDICTS",
    "Audit",
    "Claim",
    "Evidence",
    "Finding",
    "PrintedNumber",
    "Source",
    "Table",
    "Verdict",
    "as_json",
    "as_rows",
    "audit_claims",
    "decide",
]
