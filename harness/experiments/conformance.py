"""The catalogue on every implementation: a unit for each implementation, operation and format.

Deviations that are declared but explain nothing are a unit of their own, the last of each
implementation: an expected failure that passes is an error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.catalogue import CASES, Case
from harness.catalogue.allowances import ASSUMED_EXP_ERROR, Arithmetic
from harness.catalogue.case import CaseResult
from harness.catalogue.subject import RemoteSubject
from harness.conformance import Options, judge, unneeded
from harness.conformance_record import ConformanceRecord, figures
from harness.discovery import Implementation
from harness.experiments.context import Context, Unit
from harness.records import Record

OPERATIONS = ("softmax", "log_softmax", "logsumexp", "softmax_backward", "cross_entropy")
QUICK_DTYPES = ("float64", "float32")


def _coordinates(
    context: Context, implementation: Implementation, operation: str, dtype: str, case: Case
) -> ConformanceRecord:
    return ConformanceRecord(
        implementation=implementation.name,
        operation=operation,
        dtype=dtype,
        device=implementation.metadata.device,
        workload=case.id,
        case=case.id,
        seed=context.seed,
        status="skipped",
    )


def arithmetic_of(context: Context, implementation: Implementation, dtype: str) -> Arithmetic:
    """What the implementation computes with: declared, and the measured error of its exp."""
    meta = implementation.metadata
    measured = context.exp_error(implementation, dtype)
    return Arithmetic(
        meta.bound or "generic",
        meta.accumulator,
        ASSUMED_EXP_ERROR if measured is None else _rounded_up(measured.error_u),
        None if measured is None else _rounded_up(max(1.0, measured.underflow_eta)),
    )


def _rounded_up(error: float) -> float:
    """To the next of 1, 2, 4, 8, ...: implementations then share the evaluated bounds."""
    return float(2.0 ** math.ceil(math.log2(max(error, 1.0)))) if math.isfinite(error) else error


class _Results:
    """What was found of one implementation, for the judgement of its declared deviations."""

    def __init__(self, subject: RemoteSubject, planned: int) -> None:
        self.subject = subject
        self.planned = planned
        self.units = 0
        self.found: list[CaseResult] = []


def _measure(
    context: Context, results: _Results, implementation: Implementation, operation: str,
    dtype: str, cases: tuple[Case, ...],
) -> Iterator[Record]:  # fmt: skip
    refusal = context.refusal(implementation, operation, dtype)
    if refusal is not None:
        for case in cases:
            record = _coordinates(context, implementation, operation, dtype, case)
            yield record.model_copy(update={"status": refusal[0], "reason": refusal[1]})
        return
    full = context.profile.name == "full"
    options = Options(
        seed=context.seed,
        heavy=full,
        thorough=full,
        budget_s=5.0 if full else 0.3,
        timeout_s=context.profile.timeout_s,
    )
    arithmetic = arithmetic_of(context, implementation, dtype)
    started = time.perf_counter()
    for result in judge(results.subject, operation, dtype, arithmetic, options):
        now = time.perf_counter()
        results.found.append(result)
        record = _coordinates(context, implementation, operation, dtype, result.case)
        fields: dict[str, Any] = {**figures(result), "elapsed_s": now - started}
        started = now
        yield record.model_copy(update=fields)
    results.units += 1


def _deviation_record(
    context: Context, implementation: Implementation, identity: str
) -> ConformanceRecord:
    return ConformanceRecord(
        implementation=implementation.name,
        operation="all",
        device=implementation.metadata.device,
        workload=f"deviation-{identity}",
        case=f"deviation-{identity}",
        title=f"the declared deviation {identity!r} shows in some case",
        seed=context.seed,
        status="skipped",
    )


def _measure_deviations(
    context: Context, results: _Results, implementation: Implementation
) -> Iterator[Record]:
    declared = implementation.metadata.deviations
    whole = results.units == results.planned
    idle = {d.id for d in unneeded(declared, results.found)}
    used = {r.deviation for r in results.found}
    for deviation in declared:
        record = _deviation_record(context, implementation, deviation.id)
        changes: dict[str, Any]
        if deviation.id in used:
            changes = {"status": "ok", "verdict": "expected", "deviation": deviation.id}
        elif deviation.id in idle and whole:
            reason = (
                f"declared ({deviation.reason}), but every case it would explain passes: "
                f"withdraw it from IMPLEMENTATION['deviations']"
            )
            changes = {"status": "failed", "verdict": "unexpected_pass", "reason": reason}
        else:
            reason = "not all operations, formats and cases it could show in were judged"
            changes = {"status": "skipped", "verdict": "skipped", "reason": reason}
        yield record.model_copy(update=changes)
    results.subject.stop()


def _formats(context: Context, implementation: Implementation) -> list[str]:
    declared = implementation.metadata.dtypes or QUICK_DTYPES
    chosen = context.profile.dtypes if context.profile.name == "full" else QUICK_DTYPES
    chosen = tuple(d for d in chosen if d in context.profile.dtypes)
    return [d for d in chosen if d in declared]


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each implementation, operation and format, and one for its deviations."""
    profile = context.profile
    operations = [o for o in OPERATIONS if o in profile.operations]
    for implementation in context.implementations:
        meta = implementation.metadata
        formats = _formats(context, implementation)
        offered = [o for o in operations if o in meta.operations]
        everything = set(meta.operations) <= set(operations) and set(formats) >= set(
            meta.dtypes or QUICK_DTYPES
        )
        subject = RemoteSubject(implementation)
        planned = len(offered) * len(formats) if everything else -1
        results = _Results(subject, planned)
        for operation in operations:
            for dtype in formats:
                cases = tuple(c for c in CASES if c.applies(operation, dtype))
                coordinates = tuple(
                    _coordinates(context, implementation, operation, dtype, c) for c in cases
                )
                yield Unit(
                    "conformance",
                    f"conformance {meta.name} {operation} {dtype}",
                    coordinates,
                    partial(_measure, context, results, implementation, operation, dtype, cases),
                    0.6 if operation in meta.operations else 0.01,
                )
        if meta.deviations and context.unavailable(implementation) is None:
            yield Unit(
                "conformance",
                f"conformance {meta.name} deviations",
                tuple(_deviation_record(context, implementation, d.id) for d in meta.deviations),
                partial(_measure_deviations, context, results, implementation),
                0.01,
            )
