"""Errors against the certified reference: across class counts, and across input families."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.conformance.observation import FailingCall, Observation
from harness.experiments.conformance.plan import arithmetic_of
from harness.experiments.conformance.target import Subject, SubjectFault
from harness.experiments.context import Context, Part, Unit, blank, rows_for
from harness.experiments.judgement import JUDGING, bound_of, excused, excuses, worst_outcome
from harness.experiments.side_by_side import once, unit_of
from harness.numerics.exact import Exact, remembered
from harness.numerics.formats import to_hex
from harness.numerics.metrics import summarise
from harness.numerics.ulps import signed_ulp_error, ulp_error
from harness.records import AccuracyRecord, Record, Status
from harness.records.reader import cell_key
from harness.reference import cached_softmax_exact, softmax_exact
from harness.registry.contract import Metadata
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault
from harness.workloads import Workload

_WHOLE_ROW = 16
_MAX_ROWS = 4096


def cells(context: Context) -> Iterator[Workload]:
    """The inputs of the experiment: the sweep over class counts, the families, real logits."""
    profile = context.profile

    def make(identity: str, classes: int, dtype: str) -> Workload:
        rows = min(_MAX_ROWS, rows_for(profile.sweep_elements, classes))
        return workloads.parse(identity, classes, rows, dtype, context.seed)

    for dtype in profile.dtypes:
        seen: set[Workload] = set()
        for classes in profile.sweep_classes:
            seen |= {make(identity, classes, dtype) for identity in profile.sweep_workloads}
        for classes in profile.family_classes:
            for identity in profile.families:
                if not identity.startswith(("digits", "file")):
                    seen.add(make(identity, classes, dtype))
        if any(f == "digits" for f in profile.families):
            seen.add(workloads.make("digits", dtype=dtype, seed=context.seed))
        if context.logits is not None:
            seen.add(workloads.make("file", dtype=dtype, params={"path": context.logits}))
        yield from sorted(seen, key=lambda w: (w.classes, w.id))


def _coordinates(
    context: Context, implementation: Implementation, workload: Workload, **more: Any
) -> AccuracyRecord:
    return blank(
        AccuracyRecord, implementation, workload.dtype, workload=workload.id,
        classes=workload.classes, rows=workload.rows, seed=context.seed, **more,
    )  # fmt: skip


def judge(
    context: Context,
    implementation: Implementation,
    x: NDArray[Any],
    y: NDArray[Any],
    exact: Exact,
    record: AccuracyRecord,
) -> AccuracyRecord:
    """`record` with the numbers and the verdict of one output."""
    signed = signed_ulp_error(y, exact)
    summary = vars(summarise(y, exact, logits=x, signed=signed)).copy()
    worst, histogram = summary.pop("worst"), summary.pop("histogram")
    bound = bound_of(context, implementation, x, exact, y.dtype.name)
    error = np.abs(signed)
    ratio = bound.ratio(error)
    found = worst_outcome(y, exact, bound, error)
    over = float(ratio.max())
    finite_bound = bound.ulp[np.isfinite(bound.ulp)]
    fields: dict[str, Any] = {
        **summary,  # named as in the record
        "ulp_histogram": histogram,
        "status": "ok",
        "outcome": found,
        "bound": bound.name,
        "bound_ulp": float(finite_bound.max()) if finite_bound.size else None,
        "bound_ulp_at_worst": float(bound.ulp[worst.row, worst.column]),
        "error_over_bound": over,
        "published_bound": bound.published_name,
        "error_over_published": bound.published_ratio(error),
        "exp_error_u": bound.exp_error_u,
        "worst_row": worst.row,
        "worst_class": worst.column,
        "worst_logit": worst.logit,
        "worst_got": worst.computed,
        "worst_expected": worst.expected,
    }
    if bound.published_ulp is not None:
        largest = float(bound.published_ulp.max())
        fields["published_bound_ulp"] = largest if np.isfinite(largest) else None
    if x.shape[1] <= _WHOLE_ROW:
        fields["worst_logits"] = [to_hex(v) for v in x[worst.row]]
    if not over <= 1.0:
        ulp = summary["max_ulp"]
        explained = excuses(implementation.metadata.deviations, x, y, exact, ratio, bound)
        fields |= {
            "status": "failed",
            "reason": f"{found}: error {ulp:.4g} ulp, {over:.4g} times the bound {bound.name!r}",
            "deviation": excused(explained, ratio),
        }
    return record.model_copy(update=fields)


@dataclass(frozen=True)
class _Called:
    """An implementation in its worker, as what explains a failure sees it."""

    context: Context
    implementation: Implementation

    @property
    def metadata(self) -> Metadata:
        return self.implementation.metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        return [self._made(step) for step in steps]

    def fresh(self) -> AbstractContextManager[Subject]:
        """The same process: state is judged by the catalogue."""
        return contextlib.nullcontext(self)

    def _made(self, step: Step) -> Result:
        axis: dict[str, Any] = {} if step.axis == "default" else {"axis": step.axis}
        try:
            (x,) = step.arrays
            y = self.context.call(self.implementation, step.operation, x, **axis)
        except WorkerFault as fault:
            if fault.status not in ("error", "failed"):
                raise SubjectFault(fault.status, fault.reason) from None
            return Result(error=fault.reason)
        return Result((y,), (y.dtype.name,))

    def judged(self, step: Step, result: Result) -> Observation:
        """A result of this experiment: against the bound of the algorithm."""
        if result.error is not None:
            return Observation("failure", "raises", f"raised {result.error}")
        x, y = (np.atleast_2d(a) for a in (step.arrays[0], result.arrays[0]))
        exact = softmax_exact(x)
        error = ulp_error(y, exact)
        bound = bound_of(
            self.context, self.implementation, x, exact, y.dtype.name, with_published=False
        )
        ratio = np.nan_to_num(bound.ratio(error), nan=np.inf)
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
        if ratio[row, column] <= 1.0:
            return Observation("pass", "accurate")
        return Observation(
            "failure",
            worst_outcome(y, exact, bound, error),
            got=to_hex(y[row, column]),
            call=FailingCall(step, judge=self.judged, place=(row, column)),
        )


def _explain(
    context: Context,
    implementation: Implementation,
    record: AccuracyRecord,
    x: NDArray[Any],
    explainer: Explainer,
) -> AccuracyRecord:
    """The record of a failure with the smallest call and what is wrong, if that can be told.

    Raises:
        WorkerFault: the call, which is made once more, failed.
    """
    called, dtype = _Called(context, implementation), x.dtype.name
    step = Step("softmax", (x,))
    y = context.call(implementation, "softmax", x, axis=-1)
    found = called.judged(step, Result((y,), (dtype,)))
    arithmetic = arithmetic_of(context, implementation, dtype)
    timeout_s = context.profile.timeout_s
    trial = Trial(called, "accuracy", None, "softmax", dtype, arithmetic, timeout_s=timeout_s)
    witness, diagnosis = explainer.explain(trial, found, str(record.workload))
    return record.model_copy(update={"witness": witness, "diagnosis": diagnosis})


def _explanations(context: Context) -> Iterator[Record]:
    """Failures that no declaration explains, again, with what is wrong: the first of each kind."""
    judged = context.records
    explainers = {i.name: Explainer() for i in context.implementations}
    for workload in cells(context):
        for implementation in context.implementations:
            record = judged.get(cell_key(_coordinates(context, implementation, workload)))
            explainer = explainers[implementation.name]
            if (
                not isinstance(record, AccuracyRecord)
                or record.status != "failed"
                or record.deviation is not None
                or not explainer.wants(workload.id, record.outcome)
            ):
                continue
            with contextlib.suppress(WorkerFault, workloads.WorkloadUnavailable):
                yield _explain(context, implementation, record, workload.generate(), explainer)


def _parts(context: Context, workload: Workload) -> list[Part]:
    """One input for every implementation; those that refuse it come first."""
    x = once(workload.generate)
    digest = once(lambda: workloads.input_sha256(x()))
    exact = once(lambda: remembered(cached_softmax_exact(x())))

    def refusal(implementation: Implementation) -> tuple[Status, str] | None:
        return context.refusal(implementation, "softmax", workload.dtype)

    def measure(implementation: Implementation) -> Iterator[Record]:
        record = _coordinates(context, implementation, workload, input_sha256=digest())
        refused = refusal(implementation)
        if refused is not None:
            yield record.ended(*refused)
            return
        context.exp_error(implementation, workload.dtype)  # takes longer than the cell itself
        logits, certified = x(), exact()
        started = time.perf_counter()
        try:
            y = context.call(implementation, "softmax", logits, axis=-1)
            with JUDGING:
                judged = judge(context, implementation, logits, y, certified, record)
        except WorkerFault as fault:
            yield record.ended(fault.status, fault.reason)
            return
        yield judged.model_copy(update={"elapsed_s": time.perf_counter() - started})

    ordered = sorted(context.implementations, key=lambda i: refusal(i) is None)
    return [Part(i.name, partial(measure, i)) for i in ordered]


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each input, with every implementation on it; one that explains failures."""
    if "softmax" not in context.profile.operations:
        return
    for workload in cells(context):
        coordinates = tuple(_coordinates(context, i, workload) for i in context.implementations)
        elements = workload.rows * workload.classes
        yield unit_of(
            "accuracy",
            f"accuracy {workload.dtype} {workload.id} {workload.classes}",
            coordinates,
            partial(_parts, context, workload),
            0.05 + len(context.implementations) * elements * 1e-6,
        )
    yield Unit(
        "accuracy", "accuracy, what is wrong", (), partial(_explanations, context), 0.01,
        concluding=True,
    )  # fmt: skip
