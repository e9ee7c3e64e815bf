"""The judge of the catalogue: every case that applies to an operation and dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.catalogue import CASES
from harness.catalogue.allowances import Arithmetic
from harness.catalogue.case import GRADES, Case, CaseResult, Observation, Skip, Verdict, worst
from harness.catalogue.subject import Subject, SubjectFault
from harness.catalogue.trial import Trial
from harness.implementation import Deviation


@dataclass(frozen=True)
class Options:
    """How a subject is judged.

    Attributes:
        seed: of every random input.
        heavy: also the cases that need gigabytes.
        thorough: every width, position and count; else a selection, for a look at many.
        budget_s: about how long one case may take.
        timeout_s: the longest that one request may take; beyond it the case is a hang.
        cases: ids of the cases to judge; empty for all.
        stop: ends the judgement when it returns True for a result (fail fast).
    """

    seed: int = 0
    heavy: bool = False
    thorough: bool = True
    budget_s: float = 5.0
    timeout_s: float = 60.0
    cases: tuple[str, ...] = ()
    stop: Callable[[CaseResult], bool] = lambda result: False


def _declared(case: Case, deviations: Sequence[Deviation]) -> Deviation | None:
    for deviation in deviations:
        if deviation.id == case.id or deviation.id in case.deviations:
            return deviation
    return None


def judge_case(trial: Trial) -> CaseResult:
    """The verdict on one case; declared deviations of the subject turn it into ``expected``."""
    case = trial.case
    try:
        observations = list(case.judge(trial))
    except Skip as e:
        return CaseResult(case, "skipped", reason=str(e))
    except SubjectFault as e:
        text = f"{e} [{trial.operation}, {trial.dtype}, {case.id}]"
        observations = [Observation("failure", "crashed", text)]
    if not observations:
        return CaseResult(case, "skipped", reason="nothing to judge in this format")
    found = worst(observations)
    verdict: Verdict = found.grade
    others = [o.message for o in observations if o.grade == found.grade and o is not found]
    deviation = _declared(case, trial.subject.metadata.deviations)
    reason = None
    if verdict != "pass" and deviation is not None and found.outcome != "crashed":
        verdict, reason = "expected", deviation.reason
    return CaseResult(
        case,
        verdict,
        found,
        deviation.id if verdict == "expected" and deviation is not None else None,
        reason,
        len(observations),
        tuple(m for m in others if m)[:8],
    )


def judge(
    subject: Subject,
    operation: str,
    dtype: str,
    arithmetic: Arithmetic | None = None,
    options: Options | None = None,
) -> Iterator[CaseResult]:
    """One result for each case that applies to the operation and dtype, in catalogue order.

    Args:
        subject: the implementation; see `harness.catalogue.subject`.
        operation: one that it offers, else every case is ``unsupported``.
        dtype: a format's name. A module that declares formats is judged on those alone; one
            that does not, on float32 and float64.
        arithmetic: what it computes with; by default its declared bound and accumulator, with
            the error assumed of an unmeasured exponential.
    """
    options = options or Options()
    metadata = subject.metadata
    if arithmetic is None:
        arithmetic = Arithmetic(metadata.bound or "generic", metadata.accumulator)
    refusal = None
    if operation not in metadata.operations:
        refusal = f"offers no {operation}"
    elif dtype not in (metadata.dtypes or ("float64", "float32")):
        declared = ", ".join(metadata.dtypes or ())
        refusal = f"declares {declared}; not {dtype}" if declared else f"declares no {dtype}"
    for case in CASES:
        if not case.applies(operation, dtype) or (options.cases and case.id not in options.cases):
            continue
        if refusal is not None:
            yield CaseResult(case, "unsupported", reason=refusal)
            continue
        if case.heavy and not options.heavy:
            reason = "needs gigabytes or minutes; the profile 'full' has it"
            yield CaseResult(case, "skipped", reason=reason)
            continue
        trial = Trial(
            subject, case, operation, dtype, arithmetic,
            options.seed, options.budget_s, options.timeout_s, options.thorough,
        )  # fmt: skip
        result = judge_case(trial)
        yield result
        if options.stop(result):
            return


def unneeded(deviations: Sequence[Deviation], results: Sequence[CaseResult]) -> list[Deviation]:
    """Declared deviations that explain none of the results: an expected failure that passes.

    Only meaningful over all operations and formats of an implementation; a deviation whose cases
    were all skipped is left in peace.
    """
    used = {r.deviation for r in results if r.verdict == "expected"}
    tried = {
        d
        for r in results
        if r.verdict in GRADES or r.verdict == "expected"
        for d in (r.case.id, *r.case.deviations)
    }
    return [d for d in deviations if d.id not in used and d.id in tried]
