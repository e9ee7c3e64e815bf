"""From numbers to a verdict: the rules, which know nothing of any particular claim."""

from __future__ import annotations

from collections.abc import Sequence

from harness.experiments.claims.claim import Evidence, Kind
from harness.records import ClaimVerdict
from harness.records.claims import Finding, PrintedNumber

Decision = tuple[ClaimVerdict, str]


def decide(kind: Kind, evidence: Evidence) -> Decision:
    """The verdict and its reason in one sentence.

    Raises:
        ValueError: a claim of printed numbers without any.
    """
    if kind == "numbers":
        return _numbers(evidence.numbers, evidence.findings)
    asserted = [f for f in evidence.findings if f.role == "claim"]
    claims = [f for f in asserted if f.cases]
    if not claims:
        why = "; ".join(f"{f.statement}: {f.measured}" for f in asserted)
        return "not yet measured", why or "no measurement decided it"
    if kind == "formula":
        return _formula(claims)
    premises = [f for f in evidence.findings if f.role == "premise" and f.cases]
    verdict, reason = _statement(claims, premises)
    open_questions = [f"{f.statement}: {f.measured}" for f in asserted if not f.cases]
    return verdict, ". Left open: ".join([reason, *open_questions])


def _numbers(numbers: Sequence[PrintedNumber], findings: Sequence[Finding]) -> Decision:
    if not numbers:
        raise ValueError("numbers: expected at least one printed number; got none")
    wrong = [n for n in numbers if not n.to_the_digits]
    failed = [f for f in findings if f.role == "claim" and f.held < f.cases]
    if wrong:
        listed = ", ".join(f"{n.label} is {n.rounded}, printed {n.claimed}" for n in wrong[:3])
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return "wrong", f"{len(wrong)} of {len(numbers)} numbers differ: {listed}{more}"
    if failed:
        return "wrong", f"the numbers agree, but not: {failed[0].statement}"
    if all(n.exact for n in numbers):
        return "holds", f"all {len(numbers)} numbers are exact"
    return (
        "holds to the digits printed",
        f"all {len(numbers)} numbers agree to half a unit of the last digit",
    )


def _formula(claims: Sequence[Finding]) -> Decision:
    for f in claims:
        if f.held < f.cases:
            return "wrong", f"{f.statement}: in {f.held} of {f.cases} cases; {f.measured}"
    cases = sum(f.cases for f in claims)
    return "holds", f"in all {cases} cases; {claims[0].measured}"


def _statement(claims: Sequence[Finding], premises: Sequence[Finding]) -> Decision:
    failing = [f for f in claims if f.held < f.cases]
    if not failing:
        return "holds", "; ".join(f"{f.statement}: {f.measured}" for f in claims)
    worst = failing[0]
    share = f"in {worst.held} of {worst.cases} cases" if worst.held else "in no case"
    reason = f"{worst.statement}: {share}; {worst.measured}"
    partly = [f for f in claims if f.held] + [f for f in premises if f.held == f.cases]
    if not partly:
        return "wrong", reason
    if partly[0] is not worst:
        reason += f". What is so: {partly[0].statement}"
    return "misleading", reason
