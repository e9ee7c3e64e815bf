"""The judge of the catalogue: every case that applies to an operation and dtype."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import plain_step
from harness.experiments.conformance.case import NATIVE, Case
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.catalogue import BY_ID, CASES
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.conformance.observation import GRADES, Broken, Observation, Skip, worst
from harness.experiments.conformance.target import Subject, SubjectFault
from harness.numerics.formats import float_format
from harness.records import ConformanceRecord, Status
from harness.records.conformance import Verdict
from harness.registry.contract import Deviation, Metadata

PROMISED = NATIVE
"""The formats on which a module that declares none is judged."""

OF_THE_PROCESSOR = frozenset({"order", "last-bit", "flushes", "nan", "contraction"})
"""Deviations that another processor's instructions may not show: not withdrawn for one that
does not."""


@dataclass(frozen=True)
class Options:
    """How a subject is judged.

    Attributes:
        seed: of every random input.
        heavy: also the cases that need gigabytes.
        thorough: every width, position and count; else a selection, for a look at many.
        budget_s: about how long one case may take.
        timeout_s: the longest that one request may take; beyond it the case is a hang.
        patience_s: how long calls may hang in all, in one process; unlimited by default.
        cases: ids of the cases to judge; empty for all.
        also: ids of heavy cases that are judged all the same.
        explain_s: about how long it may take to make the failures of one operation and format
            smaller, and to tell what is wrong.
        whole: also the cases of the implementation as a whole.
    """

    seed: int = 0
    heavy: bool = False
    thorough: bool = True
    budget_s: float = 5.0
    timeout_s: float = 60.0
    patience_s: float = 1e9
    cases: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    explain_s: float = 1.0
    whole: bool = True


def _declared(case: Case, deviations: Sequence[Deviation]) -> Deviation | None:
    """The declared deviation that explains the case; the likeliest, as the case lists them."""
    by_id = {d.id: d for d in deviations}
    return next((by_id[i] for i in (case.id, *case.deviations) if i in by_id), None)


def planned(
    subject: Metadata, operation: str, dtype: str, case: Case, seed: int
) -> ConformanceRecord:
    """The record of a case that is still to be judged."""
    return ConformanceRecord(
        implementation=subject.name,
        operation=operation,
        dtype=dtype,
        device=subject.device,
        workload=case.id,
        case=case.id,
        kind=case.kind,  # a part of the cell's key
        seed=seed,
        status="skipped",
    )


def _decided(trial: Trial, case: Case, verdict: Verdict, **fields: Any) -> ConformanceRecord:
    """The record of a case with its verdict, which is also the status if nothing else is."""
    blank = planned(trial.subject.metadata, trial.operation, trial.dtype, case, trial.seed)
    constant = {
        "status": verdict, "verdict": verdict, "number": case.number, "title": case.title,
        "upstream": list(case.upstream) or None, "observations": 0,
    }  # fmt: skip
    return blank.model_copy(update={**constant, **fields})


def judge_case(
    case: Case, trial: Trial, explainer: Explainer, *, lenient: bool = False
) -> ConformanceRecord:
    """The verdict on one case; declared deviations of the subject turn it into ``expected``.

    Args:
        lenient: nothing was promised here: what would be a failure is a finding, but for a crash.
        explainer: makes a failing call smaller and says what is wrong.
    """
    fault: Status | None = None
    try:
        observations = list(case.judge(trial))
    except Skip as e:
        return _decided(trial, case, "skipped", reason=str(e))
    except Broken as e:
        observations = [e.observation]
    except SubjectFault as e:
        text = f"{e} [{trial.operation}, {trial.dtype}, {case.id}]"
        observations = [Observation("failure", "crashed", text)]
        fault = e.status
    if not observations:
        return _decided(trial, case, "skipped", reason="nothing to judge in this format")
    found = worst(observations)
    others = [o.message for o in observations if o.grade == found.grade and o is not found]
    if lenient and found.grade == "failure" and found.outcome != "crashed":
        found = replace(found, grade="finding")
    # A declared error of values excuses no broken contract: what differs from call to call, say.
    broken = found.outcome == "crashed" or any(
        o.grade == "failure" and o.outcome == "wrong" and o.got is None for o in observations
    )
    deviation = None
    if found.grade != "pass" and not broken:
        deviation = _declared(case, trial.subject.metadata.deviations)
    verdict: Verdict = found.grade if deviation is None else "expected"
    status: Status = "ok"
    if verdict == "failure":
        status = "crashed" if found.outcome == "crashed" else "failed"
    witness, diagnosis = None, None
    if verdict == "failure" and fault is not None:
        witness, diagnosis = explainer.explain_fault(trial, fault)
    elif verdict == "failure":
        witness, diagnosis = explainer.explain(trial, found, case.judge.__module__)
    return _decided(
        trial,
        case,
        verdict,
        status=status,
        reason=None if status == "ok" else found.message,
        deviation=None if deviation is None else deviation.id,
        deviation_reason=None if deviation is None else deviation.reason,
        observations=len(observations),
        others=[m for m in others if m][:8] or None,
        outcome=found.outcome,
        message=found.message or None,
        case_input=list(found.input) or None,
        got=found.got,
        expected=found.expected,
        error_ulp=found.error,
        allowed_ulp=found.allowed,
        witness=witness,
        diagnosis=diagnosis,
    )


def _refused(subject: Subject, operation: str, dtype: str, timeout_s: float) -> str | None:
    """Why a format that nobody promised is not judged: it is not taken. None where it is."""
    step = plain_step(operation, (2, 3), float_format(dtype).dtype)
    try:
        (result,) = subject.perform([step], timeout_s)
    except (SubjectFault, Skip):
        return None
    if result.error is None and all(d == dtype for d in result.dtypes):
        return None
    what = f"gives {', '.join(result.dtypes)}" if result.error is None else f"raises {result.error}"
    return f"declares no format, and for {dtype} it {what}"


def judge(
    subject: Subject,
    operation: str,
    dtype: str,
    arithmetic: Arithmetic | None = None,
    options: Options | None = None,
    *,
    explainer: Explainer | None = None,
) -> Iterator[ConformanceRecord]:
    """One record for each case that applies to the operation and dtype, in catalogue order.

    Args:
        subject: the implementation; see `target`.
        operation: one that it offers, else every case is ``unsupported``.
        dtype: a format's name. A module that declares formats is judged on those alone; one
            that does not, on float32 and float64, and 16-bit formats give findings where it
            takes them.
        arithmetic: what it computes with; by default its declared bound and accumulator, with
            the error assumed of an unmeasured exponential.
        explainer: that of the other cases of the same operation and format, where there is one.
    """
    options = options or Options()
    metadata = subject.metadata
    if arithmetic is None:
        arithmetic = Arithmetic(metadata.bound or "generic", metadata.accumulator)
    refusal, lenient = None, metadata.dtypes is None and dtype not in PROMISED
    if operation not in metadata.operations:
        refusal = f"offers no {operation}"
    elif metadata.dtypes is not None and dtype not in metadata.dtypes:
        refusal = f"declares {', '.join(metadata.dtypes)}; not {dtype}"
    elif lenient:
        refusal = _refused(subject, operation, dtype, options.timeout_s)
    explainer = explainer or Explainer(options.explain_s)
    for case in CASES:
        if not case.applies(operation, dtype) or (options.cases and case.id not in options.cases):
            continue
        if case.whole and not options.whole:
            continue
        trial = Trial(
            subject, case.id, case.number, operation, dtype, arithmetic, options.seed,
            options.budget_s, options.timeout_s, options.thorough,
        )  # fmt: skip
        if refusal is not None:
            yield _decided(trial, case, "unsupported", reason=refusal)
            continue
        if case.heavy and not options.heavy and case.id not in options.also:
            reason = "needs gigabytes or minutes; the profile 'full' has it"
            yield _decided(trial, case, "skipped", reason=reason)
            continue
        yield judge_case(case, trial, explainer, lenient=lenient)


def unneeded(
    deviations: Sequence[Deviation], results: Sequence[ConformanceRecord]
) -> list[Deviation]:
    """Declared deviations that explain none of the results: an expected failure that passes.

    Only meaningful over all operations and formats of an implementation; a deviation whose cases
    were all skipped is left in peace.
    """
    used = {r.deviation for r in results if r.verdict == "expected"}
    asked = {str(r.case) for r in results if r.verdict in (*GRADES, "expected")}
    tried = {d for case in asked for d in (case, *BY_ID[case].deviations)}
    return [d for d in deviations if d.id not in used and d.id in tried]
