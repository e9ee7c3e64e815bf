"""Error ÷ bound of one row or many: what a search maximises and a replay repeats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.context import Context, worker_for
from harness.experiments.judgement import bound_of, excuses
from harness.experiments.profiles import PROFILES
from harness.numerics.formats import to_hex
from harness.numerics.ulps import ulp_error
from harness.records import WorstCaseRecord
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation
from harness.worker.client import Pool

Array = NDArray[Any]


@dataclass
class Evaluated:
    """The worst element of each row of a batch; arrays of shape (rows,).

    The worst has the largest `merit`: error ÷ bound (`ratio`), divided by 1000 for a correctly
    rounded result. Without that, such results would win in the subnormal range, where the bound
    is little more than half an ulp and their ratio comes near 1. `finite` is False for rows with
    an error that is not finite, or one that a declared deviation explains (`excused`).
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
def open_context(implementation: Implementation) -> Iterator[Context]:
    """A context with a worker of one implementation, for `evaluate`."""
    with Pool() as pool:
        pool.add(worker_for(implementation))
        profile = PROFILES["quick"]
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


def judge_row(
    context: Context, implementation: Implementation, row: Array, record: WorstCaseRecord
) -> WorstCaseRecord:
    """`record` with the numbers of one row on its own against the bound.

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
    fields = {
        "status": "ok" if good else "failed",
        "reason": reason,
        "bound": found.bound_name,
        "error_over_bound": ratio,
        "error_ulp": float(found.error[0]),
        "bound_ulp": float(found.bound[0]),
        "worst_class": int(found.output[0]),
        "worst_logits": [to_hex(v) for v in row],
        "worst_got": to_hex(found.computed[0]),
        "worst_expected": to_hex(found.expected[0]),
        "evaluations": 1,
    }
    return record.model_copy(update=fields)
