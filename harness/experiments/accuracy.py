"""Errors against the certified reference: across class counts, and across input families."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial

from harness import workloads
from harness.experiments.accuracy_blocks import in_blocks
from harness.experiments.accuracy_cell import coordinates_of, explained, judge, unexplained
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.context import Context, Part, Unit, rows_for
from harness.experiments.judgement import JUDGING
from harness.experiments.side_by_side import once, unit_of
from harness.numerics.exact import remembered
from harness.records import AccuracyRecord, Record, Status
from harness.records.reader import cell_key
from harness.reference import cached_softmax_exact
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault
from harness.workloads import Workload
from harness.workloads.stored import BLOCK

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
        for path in context.logits:
            seen.add(workloads.make("file", dtype=dtype, params={"path": path}))
        yield from sorted(seen, key=lambda w: (w.classes, w.id))


def _explanations(context: Context) -> Iterator[Record]:
    """Failures that no declaration explains, again, with what is wrong: the first of each kind."""
    explainers = {i.name: Explainer() for i in context.implementations}
    for workload in cells(context):
        if _in_blocks(workload):  # explained where they are judged
            continue
        for one in context.implementations:
            record = context.records.get(cell_key(coordinates_of(context, one, workload)))
            if not isinstance(record, AccuracyRecord):
                continue
            if unexplained(record, explainers[one.name]):
                with contextlib.suppress(WorkerFault, workloads.WorkloadUnavailable):
                    x = workload.generate()
                    y = context.call(one, "softmax", x, axis=-1)
                    yield explained(context, one, record, x, y, explainers[one.name])


def _in_blocks(workload: Workload) -> bool:
    """Whether it is too large to be judged whole."""
    return workload.family == "file" and workload.rows * workload.classes > BLOCK


def _parts(context: Context, workload: Workload) -> list[Part]:
    """One input for every implementation; those that refuse it come first."""
    x = once(workload.generate)
    digest = once(lambda: workloads.input_sha256(x()))
    exact = once(lambda: remembered(cached_softmax_exact(x())))

    def refusal(implementation: Implementation) -> tuple[Status, str] | None:
        return context.refusal(implementation, "softmax", workload.dtype)

    def measure(implementation: Implementation) -> Iterator[Record]:
        record = coordinates_of(context, implementation, workload, input_sha256=digest())
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
        coordinates = tuple(coordinates_of(context, i, workload) for i in context.implementations)
        label = f"accuracy {workload.dtype} {workload.id} {workload.classes}"
        elements = workload.rows * workload.classes
        weight = 0.05 + len(context.implementations) * elements * 1e-6
        if _in_blocks(workload):
            measure = partial(in_blocks, context, workload)
            # it asks all of them, so that nobody else may
            yield Unit("accuracy", label, coordinates, measure, weight, timed=True)
        else:
            parts = partial(_parts, context, workload)
            yield unit_of("accuracy", label, coordinates, parts, weight)
    yield Unit(
        "accuracy", "accuracy, what is wrong", (), partial(_explanations, context), 0.01,
        concluding=True,
    )  # fmt: skip
