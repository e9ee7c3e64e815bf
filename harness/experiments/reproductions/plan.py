"""The plan of a reproduction: the times that its claims need, and a record for each claim."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.experiments.claims.claim import Audit, Claim, Evidence
from harness.experiments.claims.plan import coordinates, record_of
from harness.experiments.claims.verdicts import decide
from harness.experiments.context import Context, Unit
from harness.experiments.profiles import Filters
from harness.experiments.reproductions.papers import BLANCHARD, PAPERS, Paper
from harness.experiments.reproductions.passes import EXAMINATIONS, measured, timed
from harness.records import Record
from harness.workloads.captured import load_logits


@dataclass(frozen=True)
class Asked(Filters):
    """What `softmax-bench reproduce` was asked for; a run keeps it among its filters.

    Attributes:
        paper: name of one of `PAPERS`.
    """

    paper: str = ""


def plan(context: Context, asked: Asked) -> Iterator[Unit]:
    """The timings of a paper, and a unit of all its claims, which follows from them."""
    paper = PAPERS[asked.paper]
    if paper is BLANCHARD:
        yield _claims(paper, _half_precision(asked.logits), concluding=False)
        return
    yield from timed(context, paper.source.id)
    examine = EXAMINATIONS[paper.source.id]
    yield _claims(paper, {c.id: partial(_by_times, context, examine[c.id]) for c in paper.claims})


def _by_times(context: Context, examine: Callable[..., Evidence]) -> Evidence:
    return examine(measured(context))


def _half_precision(logits: Sequence[str]) -> Mapping[str, Callable[[], Evidence]]:
    from harness.experiments.reproductions import (  # Arb: not for other runs
        blanchard,
        half_precision,
    )

    found: list[half_precision.Trial] = []

    def examine(claim: str) -> Evidence:
        if not found:
            own = load_logits(logits[0]).astype(np.float64) if logits else None
            found.extend(half_precision.trials(own))
        return blanchard.examine(claim, found)

    return {c.id: partial(examine, c.id) for c in BLANCHARD.claims}


def _claims(
    paper: Paper, examinations: Mapping[str, Callable[[], Evidence]], concluding: bool = True
) -> Unit:
    def measure() -> Iterator[Record]:
        for claim in paper.claims:
            started = time.perf_counter()
            audit = audited(claim, examinations[claim.id]())
            yield record_of(audit, time.perf_counter() - started)

    cells = tuple(coordinates(c.id) for c in paper.claims)
    return Unit(
        "claims", f"claims of {paper.source.id}", cells, measure, 1.0, concluding=concluding
    )


def audited(claim: Claim, evidence: Evidence) -> Audit:
    """A claim with the verdict that the evidence gives."""
    verdict, reason = decide(claim.kind, evidence)
    return Audit(claim, verdict, reason, evidence)
