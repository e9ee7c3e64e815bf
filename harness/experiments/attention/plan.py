"""Attention's operations as cells: their errors, and where a scaled softmax is not finite."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.bounds import over_bound
from harness.bounds.tolerances import Arithmetic
from harness.experiments.attention import disagreement, layers, merging, onsets, weights
from harness.experiments.attention.variants import Variant, variants
from harness.experiments.context import Context, Part, Unit, blank
from harness.experiments.judgement import (
    JUDGING,
    arithmetic_of,
    excused,
    excuses,
    half_of_the_digits,
)
from harness.experiments.side_by_side import once, unit_of
from harness.numerics.exact import Exact, remembered
from harness.numerics.formats import float_format, to_float64, to_hex
from harness.numerics.outcomes import SEVERITY, row_outcomes
from harness.numerics.ulps import ulp_error
from harness.records import AttentionRecord, Record
from harness.registry.contract import Deviation
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

WORKLOADS = ("normal(scale=1)", "normal(scale=30)", "offset(offset=1000,scale=1)")
CLASSES = (16, 1000)
ROWS = 32
_WHOLE_ROW = 16


def _asked(context: Context, dtype: str) -> list[Variant]:
    return [v for v in variants(dtype) if v.operation in context.profile.operations]


def _accuracy_cell(
    context: Context, implementation: Implementation, dtype: str, variant: Variant, workload: str,
    classes: int,
) -> AttentionRecord:  # fmt: skip
    return blank(
        AttentionRecord, implementation, dtype, operation=variant.operation, kind="accuracy",
        parameter=variant.parameter, value=variant.value, workload=workload, classes=classes,
        rows=ROWS, seed=context.seed,
    )  # fmt: skip


def _judged(
    record: AttentionRecord, variant: Variant, x: NDArray[Any], mask: NDArray[np.bool_] | None,
    exact: Exact, y: NDArray[Any], arithmetic: Arithmetic, deviations: Sequence[Deviation],
) -> AttentionRecord:  # fmt: skip
    """The record with the numbers and the verdict of one output."""
    fields: dict[str, Any] = {"status": "ok", "bound": arithmetic.bound}
    kept: NDArray[np.bool_] = np.ones(len(x), np.bool_)
    if mask is not None:
        kept = np.asarray(mask.any(axis=1))
        fields["leaked"] = int(np.count_nonzero(to_float64(y)[~mask & kept[:, None]]))
        if not kept.all():
            fields["empty_rows"] = _told(to_float64(y)[~kept])
    x, y, exact = x[kept], y[kept], exact[kept]
    mask = None if mask is None else mask[kept]
    error = ulp_error(y, exact)
    allowed = variant.allowed(x, mask, exact, y.dtype.name, arithmetic)
    ratio = np.nan_to_num(over_bound(error, allowed), nan=np.inf)
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
    fmt = float_format(y.dtype)
    tolerance = np.minimum(allowed, half_of_the_digits(fmt))
    found = max(set(row_outcomes(y, exact, tolerance=tolerance, error=error)), key=SEVERITY.index)
    finite = allowed[np.isfinite(allowed)]
    due = np.isfinite(exact.to_float64())
    fields |= {
        "max_ulp": float(error.max()),
        "p99_ulp": float(np.quantile(error, 0.99, method="higher")),
        "correctly_rounded": float(np.mean(error <= 0.5)),
        "nonfinite": int(np.count_nonzero(~np.isfinite(to_float64(y)) & due)),
        "outcome": found,
        "bound_ulp": float(finite.max()) if finite.size else None,
        "error_over_bound": float(ratio.max()),
        "worst_row": int(np.flatnonzero(kept)[row]),
        "worst_class": column,
        "worst_got": to_hex(y[row, column]),
        "worst_expected": to_hex(exact.round_to(fmt)[row, column]),
    }
    if x.shape[1] <= _WHOLE_ROW:
        fields["worst_logits"] = [to_hex(v) for v in x[row]]
    wrong = []
    if not fields["error_over_bound"] <= 1.0:
        z = variant.change.approximate(to_float64(x), mask)
        fields["deviation"] = excused(excuses(deviations, z, y, exact, ratio), ratio)
        wrong.append(
            f"{found}: error {fields['max_ulp']:.4g} ulp, {fields['error_over_bound']:.4g} times "
            f"what is allowed"
        )
    values = to_float64(y)
    beyond = (values < 0) | (values > 1.0 + 4.0 * fmt.unit_roundoff)
    # where so much is allowed that no digit need be right
    if impossible := int(np.count_nonzero(beyond & (allowed > half_of_the_digits(fmt)))):
        wrong.append(f"{impossible} results are no probabilities")
    if fields.get("leaked"):
        wrong.append(f"{fields['leaked']} masked classes are not 0")
    if fields.get("empty_rows") == "other":
        wrong.append("a row without any class is neither of zeros nor of NaN")
    if wrong:
        fields |= {"status": "failed", "reason": "; ".join(wrong)}
    return record.model_copy(update=fields)


def _told(rows: NDArray[np.float64]) -> str:
    """What rows without any class give."""
    if np.isnan(rows).all():
        return "NaN"
    return "zeros" if (rows == 0).all() else "other"


def _accuracy(context: Context, dtype: str, workload: str, classes: int) -> list[Part]:
    """One input and every variant that is asked for, for each implementation."""
    tried = _asked(context, dtype)
    x = once(lambda: workloads.generate(workload, classes, ROWS, dtype, context.seed))
    digest = once(lambda: workloads.input_sha256(x()))
    masks = {v: v.mask(ROWS, classes, context.seed) for v in tried}
    exact = {v: once(partial(lambda v: remembered(v.exact(x(), masks[v])), v)) for v in tried}

    def measure(implementation: Implementation) -> Iterator[Record]:
        for variant in tried:
            record = _accuracy_cell(context, implementation, dtype, variant, workload, classes)
            started = time.perf_counter()
            try:
                context.demand(implementation, variant.operation, dtype)
                arithmetic = arithmetic_of(context, implementation, dtype)
                mask = masks[variant]
                arrays = (x(),) if mask is None else (x(), mask)
                y = context.call(implementation, variant.operation, *arrays, **variant.options)
            except WorkerFault as fault:
                yield record.ended(fault.status, fault.reason)
                continue
            certified = exact[variant]()
            with JUDGING:
                declared = implementation.metadata.deviations
                judged = _judged(record, variant, x(), mask, certified, y, arithmetic, declared)
            elapsed = time.perf_counter() - started
            yield judged.model_copy(update={"input_sha256": digest(), "elapsed_s": elapsed})

    return [Part(i.name, partial(measure, i)) for i in context.implementations]


def _merge_cell(context: Context, implementation: Implementation, dtype: str) -> AttentionRecord:
    return blank(
        AttentionRecord, implementation, dtype, operation="merge_logsumexp", kind="merge",
        workload="normal(scale=10)", classes=CLASSES[1], rows=ROWS, seed=context.seed,
    )  # fmt: skip


def _merge(context: Context, implementation: Implementation, dtype: str) -> Iterator[Record]:
    """Parts of rows, some of them empty, merged in several orders; each step is judged."""
    record = _merge_cell(context, implementation, dtype)
    started = time.perf_counter()
    worst, wrong_maxima, bad = (0.0, 0.0), 0, 0

    def step(one: merging.Pair, other: merging.Pair) -> merging.Pair:
        nonlocal worst, wrong_maxima, bad
        request = {"operation": record.operation, "options": {}}
        worker = context.pool[implementation.name]
        _, found = worker.call(request, (*one, *other), context.profile.timeout_s)
        shapes = [(a.shape, a.dtype.name) for a in found]
        if shapes != [(one[0].shape, dtype)] * 2:
            raise WorkerFault("failed", f"{record.operation}: expected two arrays like m1")
        seen = merging.judged(one, other, (found[0], found[1]), arithmetic.exp_error)
        worst = max(worst, (seen.ratio, seen.ulp))
        wrong_maxima += seen.maxima_wrong
        bad += seen.nonfinite
        return found[0], found[1]

    try:
        context.demand(implementation, record.operation, dtype)
        arithmetic = arithmetic_of(context, implementation, dtype)
        pairs = merging.parts(dtype, ROWS, CLASSES[1], context.seed)
        sums = [order(step, pairs)[1] for order in merging.ORDERS]
    except WorkerFault as fault:
        yield record.ended(fault.status, fault.reason)
        return
    fields: dict[str, Any] = {
        "status": "ok", "error_over_bound": worst[0], "max_ulp": worst[1],
        "maxima_wrong": wrong_maxima, "nonfinite": bad, "parts": len(pairs),
        "order_ulp": merging.spread(sums), "elapsed_s": time.perf_counter() - started,
    }  # fmt: skip
    if not worst[0] <= 1.0 or wrong_maxima:
        fields |= {
            "status": "failed",
            "reason": f"a merge is off by {worst[1]:.4g} ulp, "
            f"{worst[0]:.4g} times what is allowed; {wrong_maxima} maxima are wrong",
        }
    yield record.model_copy(update=fields)


def plan(context: Context) -> Iterator[Unit]:
    """Units of pairs, layers and weights, of each input with all variants, of merges and onsets."""
    yield from disagreement.plan(context)
    yield from layers.plan(context)
    yield from weights.plan(context)
    for dtype in context.profile.dtypes:
        asked = _asked(context, dtype)
        for classes in CLASSES if asked else ():
            for workload in WORKLOADS:
                cells = tuple(
                    _accuracy_cell(context, i, dtype, v, workload, classes)
                    for i in context.implementations
                    for v in asked
                )
                label = f"attention {dtype} {workload} {classes}"
                parts = partial(_accuracy, context, dtype, workload, classes)
                yield unit_of("attention", label, cells, parts, 0.5)
        if "merge_logsumexp" in context.profile.operations:
            for implementation in context.implementations:
                part = Part(implementation.name, partial(_merge, context, implementation, dtype))
                yield unit_of(
                    "attention", f"attention merge {dtype} {implementation.name}",
                    (_merge_cell(context, implementation, dtype),), partial(list[Part], (part,)),
                    0.1,
                )  # fmt: skip
    yield from onsets.plan(context)
