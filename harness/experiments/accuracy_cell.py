"""One output of the accuracy experiment: its record, and what is wrong where it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.conformance.observation import FailingCall, Observation
from harness.experiments.conformance.target import Subject, SubjectFault
from harness.experiments.context import Context, blank
from harness.experiments.judgement import (
    Judgement,
    arithmetic_of,
    bound_of,
    excused,
    excuses,
    worst_outcome,
)
from harness.numerics.exact import Exact
from harness.numerics.formats import to_hex
from harness.numerics.metrics import summarise
from harness.numerics.ulps import signed_ulp_error, ulp_error
from harness.records import AccuracyRecord
from harness.reference import softmax_exact
from harness.registry.contract import Metadata
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault
from harness.workloads import Workload

_WHOLE_ROW = 16


def coordinates_of(
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
    bound: Judgement | None = None,
) -> AccuracyRecord:
    """`record` with the numbers and the verdict of one output.

    Args:
        bound: where it is not that of a softmax of `x` (`bound_of`).
    """
    signed = signed_ulp_error(y, exact)
    summary = vars(summarise(y, exact, logits=x, signed=signed)).copy()
    worst, histogram = summary.pop("worst"), summary.pop("histogram")
    if bound is None:
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
        reasons = excuses(implementation.metadata.deviations, x, y, exact, ratio, bound)
        fields |= {
            "status": "failed",
            "reason": beyond(found, summary["max_ulp"], over, bound.name),
            "deviation": excused(reasons, ratio),
        }
    return record.model_copy(update=fields)


def beyond(outcome: str | None, ulp: float | None, over: float | None, bound: str | None) -> str:
    """The reason of a cell whose largest error is beyond the bound."""
    return f"{outcome}: error {ulp:.4g} ulp, {over:.4g} times the bound {bound!r}"


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


def unexplained(record: AccuracyRecord, explainer: Explainer) -> bool:
    """Whether a record is of a failure of which it is still to be said what is wrong."""
    declared = record.status != "failed" or record.deviation is not None
    return not declared and explainer.wants(str(record.workload), record.outcome)


def explained(
    context: Context,
    implementation: Implementation,
    record: AccuracyRecord,
    x: NDArray[Any],
    y: NDArray[Any],
    explainer: Explainer,
) -> AccuracyRecord:
    """The record of a failure with the smallest call and what is wrong, if that can be told."""
    if not unexplained(record, explainer):
        return record
    called, dtype = _Called(context, implementation), y.dtype.name
    step = Step("softmax", (x,))
    found = called.judged(step, Result((y,), (dtype,)))
    arithmetic = arithmetic_of(context, implementation, dtype)
    timeout_s = context.profile.timeout_s
    trial = Trial(called, "accuracy", None, "softmax", dtype, arithmetic, timeout_s=timeout_s)
    witness, diagnosis = explainer.explain(trial, found, str(record.workload))
    return record.model_copy(update={"witness": witness, "diagnosis": diagnosis})
