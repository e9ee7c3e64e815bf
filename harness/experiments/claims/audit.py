"""The audit: every claim of the register, examined, with the verdict that the numbers give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from harness.errors import UserError
from harness.experiments.claims import calculus, computing, learning, timing
from harness.experiments.claims.claim import Audit, Claim, Evidence
from harness.experiments.claims.register import CLAIMS
from harness.experiments.claims.verdicts import decide
from harness.experiments.claims.worked import worked_example

OnProgress = Callable[[int, int, Claim], None]


EXAMINATIONS: Mapping[str, Callable[[], Evidence]] = {
    "A1": partial(worked_example, ("2", "3", "1"), (("0.1353", "0.7942", "0.0705"),)),
    "A2": computing.negative_inputs,
    "A3": calculus.gradient_against_gap,
    "B1": partial(worked_example, ("2", "1", "0.5"), (("0.6197", "0.2722", "0.1081"),)),
    "B2": computing.outputs_in_unit_interval,
    "B3": calculus.diminishing_increments,
    "B4": timing.ways_to_speed,
    "C1": partial(
        worked_example,
        ("2", "1", "0.1"),
        (("0.7652", "0.2393", "0.0055"), ("0.76519587", "0.2393248", "0.00549114")),
    ),
    "C2": computing.printed_naive_code,
    "C3": timing.ways_to_improve,
    "D1": calculus.bounded_slope,
    "D2": calculus.jacobian_diagonal_only,
    "D3": timing.cost_by_classes,
    "D4": calculus.saturated_gradient,
    "D5": learning.clipping,
    "D6": computing.shifted_code,
    "D7": learning.high_nineties,
    "E1": partial(worked_example, ("2", "1", "0.1"), (("0.65", "0.24", "0.11"),), ("1", "0", "0")),
    "E2": calculus.cross_entropy_gradient,
    "E3": calculus.jacobian_with_sign,
    "E4": calculus.identities,
}
"""What is done for each claim; the verdict is `decide`'s."""


def audit_claims(
    ids: Iterable[str] | None = None, on_progress: OnProgress | None = None
) -> list[Audit]:
    """Recompute the claims, all or those of `ids`, in the order of the register.

    Takes about a minute, most of it the timings of B4, C3 and D3 and the trainings of D5 and D7.

    Args:
        ids: such as ``["A1", "D3"]``; None for all.
        on_progress: called before each claim with (done, total, claim).

    Raises:
        UserError: for an id that is not in the register.
    """
    known = {c.id: c for c in CLAIMS}
    wanted = set(known) if ids is None else set(ids)
    unknown = sorted(wanted - set(known))
    if unknown:
        raise UserError(f"claims: expected ids among {', '.join(known)}; got {', '.join(unknown)}")
    chosen = [c for c in CLAIMS if c.id in wanted]
    audits = []
    for done, claim in enumerate(chosen):
        if on_progress is not None:
            on_progress(done, len(chosen), claim)
        evidence = EXAMINATIONS[claim.id]()
        verdict, reason = decide(claim.kind, evidence)
        audits.append(Audit(claim, verdict, reason, evidence))
    return audits
