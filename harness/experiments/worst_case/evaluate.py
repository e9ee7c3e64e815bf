"""Error ÷ bound of one row or many: what a search maximises and a replay repeats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.context import Context, worker_for
from harness.experiments.judgement import bound_of, excuses
from harness.experiments.profiles import PROFILES
from harness.numerics.formats import to_hex
from harness.numerics.ulps import ulp_error
from harness.records import Status
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation
from harness.worker.client import Pool

Array = NDArray[Any]


@dataclass(frozen=True)
class WorstCase:
    """The largest error ÷ bound that a search found: a lower bound on the largest there is.

    Attributes:
        implementation, dtype, classes: of what.
        status, reason: ``ok``, ``failed`` where the bound is exceeded or a result is not finite,
            or why nothing was searched.
        bound: name of the bound.
        error_over_bound: the ratio of the row on its own. None if nothing was searched.
        error_ulp, bound_ulp: of the element where it is largest.
        output: index of that class.
        logits: the row in hex.
        computed, expected: what came there, and the correctly rounded value, in hex.
        origin: the kind of row that the climb began from.
        evaluations: rows tried; seed: of the search; elapsed_s: seconds.
        in_batch: the ratio of the row among others, where that was another one.
        nonfinite: rows that are out of the algorithm's range: a result is not finite where one is
            due, or a declared deviation explains its error (``failed`` unless one explains every
            such row); they are left out of the climb.
        nonfinite_logits: the first of them, in hex.
    """

    implementation: str
    dtype: str
    classes: int
    status: Status
    reason: str | None
    bound: str | None = None
    error_over_bound: float | None = None
    error_ulp: float | None = None
    bound_ulp: float | None = None
    output: int | None = None
    logits: tuple[str, ...] = ()
    computed: str | None = None
    expected: str | None = None
    origin: str | None = None
    evaluations: int = 0
    seed: int = 0
    elapsed_s: float = 0.0
    in_batch: float | None = None
    nonfinite: int = 0
    nonfinite_logits: tuple[str, ...] = ()


@dataclass
class Evaluated:
    """A batch of rows: the worst element of each.

    A correctly rounded result is never the worst one while there is another, though in the
    subnormal range, where the bound is little more than half an ulp, its ratio comes near 1.
    `merit` is the ratio, that of correctly rounded results divided by 1000. Rows that are not
    `finite` have a result that is not, or a declared deviation that explains their error
    (`excused`, see `excuses`).
    """

    merit: NDArray[np.float64]
    ratio: NDArray[np.float64]
    error: NDArray[np.float64]
    bound: NDArray[np.float64]
    output: NDArray[np.intp]
    computed: Array
    expected: Array
    finite: NDArray[np.bool_]
    excused: list[str | None]
    bound_name: str


@contextmanager
def open_context(implementation: Implementation, timeout_s: float = 60.0) -> Iterator[Context]:
    """A context with a worker of one implementation, for `evaluate`."""
    with Pool() as pool:
        pool.add(worker_for(implementation))
        profile = replace(PROFILES["quick"], timeout_s=timeout_s)
        yield Context((implementation,), pool, profile, seed=0, cores=1, on_note=lambda _: None)


def evaluate(context: Context, implementation: Implementation, x: Array) -> Evaluated:
    """Error ÷ bound of each row of (rows, classes), against the implementation's own bound.

    Raises:
        WorkerFault: the call failed or broke the contract.
    """
    y = context.call(implementation, "softmax", x, axis=-1)
    exact = softmax_exact(x)
    judgement = bound_of(context, implementation, x, exact, x.dtype.name)
    error = ulp_error(y, exact)
    ratio = judgement.ratio(error)
    excused = excuses(implementation.metadata.deviations, x, y, exact, ratio, judgement)
    merit = np.where((error > 0.5) | (ratio > 1.0), ratio, ratio / 1000)
    output = merit.argmax(axis=1)
    rows = np.arange(len(x))
    return Evaluated(
        merit=merit[rows, output],
        ratio=ratio[rows, output],
        error=error[rows, output],
        bound=judgement.ulp[rows, output],
        output=output,
        computed=y[rows, output],
        expected=exact.round_to(x.dtype)[rows, output],
        finite=np.isfinite(error).all(axis=1) & np.array([e is None for e in excused], bool),
        excused=excused,
        bound_name=judgement.name,
    )


def judge_row(context: Context, implementation: Implementation, row: Array) -> WorstCase:
    """One row on its own against the bound.

    Raises:
        WorkerFault: the call failed or broke the contract.
    """
    found = evaluate(context, implementation, row[np.newaxis, :])
    ratio = float(found.ratio[0])
    good, reason = ratio <= 1.0, None
    if not found.finite[0]:
        declared = found.excused[0]
        good = declared is not None
        reason = "out of range" if declared is None else f"out of range, as declared: {declared}"
    elif not good:
        reason = f"{ratio:.4g} times the bound {found.bound_name!r}"
    return WorstCase(
        implementation=implementation.name,
        dtype=row.dtype.name,
        classes=row.size,
        status="ok" if good else "failed",
        reason=reason,
        bound=found.bound_name,
        error_over_bound=ratio,
        error_ulp=float(found.error[0]),
        bound_ulp=float(found.bound[0]),
        output=int(found.output[0]),
        logits=tuple(to_hex(v) for v in row),
        computed=to_hex(found.computed[0]),
        expected=to_hex(found.expected[0]),
        evaluations=1,
    )
