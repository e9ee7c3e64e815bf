"""How far implementations disagree on the same logits: largest ratio of probabilities, and KL.

Where training and inference use different code, importance weights are such ratios.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.experiments.context import Context, Unit, blank
from harness.numerics.formats import Float64Array, to_float64
from harness.records import AttentionRecord, Record
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

WORKLOAD, CLASSES, ROWS = "normal(scale=3)", 32_000, 16
LIKELY = 1e-4
"""Probabilities from which on a class is likely to be drawn: ratios of others seldom matter."""


def compared(a: Float64Array, b: Float64Array) -> dict[str, Any]:
    """The numbers of a record, of two results of (rows, classes).

    Ratios are the larger of the two over the smaller one; infinite where one is 0 alone, or is no
    number, and so is the divergence.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(a == b, 1.0, np.maximum(a, b) / np.minimum(a, b))
        terms = np.where(a > 0, a * (np.log(a) - np.log(b)), 0.0)
    likely = ratio[~(np.maximum(a, b) < LIKELY)]
    numbers = bool(np.isfinite(a).all() and np.isfinite(b).all())
    return {
        "max_ratio": float(ratio.max()) if numbers else np.inf,
        "likely_ratio": float(likely.max(initial=1.0)) if numbers else np.inf,
        "kl": float(np.abs(terms.sum(axis=1)).max()) if numbers else np.inf,
        "argmax_differs": int(np.count_nonzero(a.argmax(axis=1) != b.argmax(axis=1))),
        "same_bits": bool(np.array_equal(a, b)),
    }


def _cell(
    context: Context, one: Implementation, other: Implementation, dtype: str
) -> AttentionRecord:
    return blank(
        AttentionRecord, one, dtype, operation="softmax", kind="disagreement", other=other.name,
        workload=WORKLOAD, classes=CLASSES, rows=ROWS, seed=context.seed,
    )  # fmt: skip


def _measure(context: Context, members: Sequence[Implementation], dtype: str) -> Iterator[Record]:
    x: NDArray[Any] = workloads.generate(WORKLOAD, CLASSES, ROWS, dtype, context.seed)
    results: dict[str, Float64Array] = {}
    faults: dict[str, WorkerFault] = {}
    for i in members:
        try:
            results[i.name] = to_float64(context.call(i, "softmax", x, axis=-1))
        except WorkerFault as fault:
            faults[i.name] = fault
    for one, other in combinations(members, 2):
        record, started = _cell(context, one, other, dtype), time.perf_counter()
        lost = faults.get(one.name) or faults.get(other.name)
        if lost is not None:
            yield record.ended(lost.status, lost.reason)
            continue
        found = compared(results[one.name], results[other.name])
        elapsed = time.perf_counter() - started
        yield record.model_copy(update={"status": "ok", "elapsed_s": elapsed, **found})


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each format, with all pairs of those that can run."""
    if "softmax" not in context.profile.operations:
        return
    for dtype in context.profile.dtypes:
        members = [
            i for i in context.implementations if context.refusal(i, "softmax", dtype) is None
        ]
        cells = tuple(_cell(context, a, b, dtype) for a, b in combinations(members, 2))
        if cells:
            yield Unit(
                "attention", f"attention disagreement {dtype}", cells,
                partial(_measure, context, members, dtype), 0.1 * len(members),
                timed=True,  # it asks all of them, so that nobody else may
            )  # fmt: skip
