"""Softmax as a kernel of attention computes it, at every setting of the parameters it declares.

Results of float32 logits, rounded to the formats that attention uses: where does a cheaper
exponential, a rescaling left out or a narrow format of the weights begin to matter?
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.bounds import over_bound
from harness.bounds.tolerances import Arithmetic, softmax_allowance
from harness.experiments.context import Context, Part, Unit, blank
from harness.experiments.judgement import arithmetic_of
from harness.experiments.side_by_side import once, unit_of
from harness.numerics.exact import Exact, remembered
from harness.numerics.formats import FORMATS, Float64Array, float_format, scale_by_power, to_float64
from harness.numerics.ulps import ulp_error
from harness.records import AttentionRecord, Record
from harness.reference import softmax_exact
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

OPERATION, DTYPE = "attention_weights", "float32"
WORKLOADS = ("normal(scale=2)", "ascending(span=20)")
"""Scores of attention by chance; and rising ones, each block with a new maximum."""
CLASSES, ROWS = 1024, 32

MOST_EXP_ERROR = 2.0**-9
"""Relative: beyond half an ulp of bfloat16 an exponential is no cheaper one, but a wrong one."""

Setting = Mapping[str, float]


def settings(one: Implementation) -> list[Setting]:
    """What is passed: every combination of the declared numbers, and nothing where none are."""
    parameters = one.metadata.parameters
    return [dict(zip(parameters, v, strict=True)) for v in product(*parameters.values())]


def told(setting: Setting) -> str:
    """``tau=8, power=4``."""
    return ", ".join(f"{name}={value:g}" for name, value in setting.items())


def allowed(
    x: NDArray[Any], exact: Exact, weights: str | None, arithmetic: Arithmetic
) -> Float64Array:
    """Ulps of float32 allowed to each result: the bound, and what weights that are rounded lose.

    Weights of a row are exp(x - m) with a sum of at least 1: half an ulp of their own, normal or
    not, is as much of the result at most. Saturation is not allowed for.
    """
    most = softmax_allowance(x, exact, DTYPE, arithmetic)
    if weights is None:
        return most
    narrow, q = float_format(weights), exact.in_ulps(float_format(DTYPE))[0]
    lost = narrow.unit_roundoff * exact.to_float64() + narrow.smallest_subnormal / 2.0
    return np.asarray(most * (1.0 + narrow.unit_roundoff) + scale_by_power(lost, -q))


def judged(y: NDArray[Any], exact: Exact, most: Float64Array) -> dict[str, Any]:
    """Fields of a record: errors in float32, and what is left of them in every format."""
    error = ulp_error(y, exact)
    ratio = np.nan_to_num(over_bound(error, most), nan=np.inf)
    wide = to_float64(y)
    with np.errstate(over="ignore"):
        missed = {
            f"misrounded_{name}": float(np.mean(ulp_error(y.astype(fmt.dtype), exact) > 0.5))
            for name, fmt in FORMATS.items()
            if name != "float64"
        }
    apart = np.abs(wide - exact.to_float64()).sum(axis=1) / 2.0
    return {
        "status": "ok",
        "max_ulp": float(error.max()),
        "error_over_bound": float(ratio.max()),
        "nonfinite": int(np.count_nonzero(~np.isfinite(wide))),
        "total_variation": float(apart.max()) if np.isfinite(wide).all() else None,
        **missed,
    }


def _cell(
    context: Context, one: Implementation, workload: str, setting: Setting
) -> AttentionRecord:
    return blank(
        AttentionRecord, one, DTYPE, operation=OPERATION, kind="weights", setting=told(setting),
        workload=workload, classes=CLASSES, rows=ROWS, seed=context.seed,
    )  # fmt: skip


def _measure(context: Context, workload: str) -> list[Part]:
    x = once(lambda: workloads.generate(workload, CLASSES, ROWS, DTYPE, context.seed))
    exact = once(lambda: remembered(softmax_exact(x())))

    def measure(one: Implementation) -> Iterator[Record]:
        for setting in settings(one):
            cell, started = _cell(context, one, workload, setting), time.perf_counter()
            try:
                context.demand(one, OPERATION, DTYPE)
                y = context.call(one, OPERATION, x(), axis=-1, **setting)
                arithmetic = arithmetic_of(context, one, DTYPE)
                most = MOST_EXP_ERROR / float_format(DTYPE).unit_roundoff
                arithmetic = replace(arithmetic, exp_error=min(arithmetic.exp_error, most))
            except WorkerFault as fault:
                yield cell.ended(fault.status, fault.reason)
                continue
            found = judged(y, exact(), allowed(x(), exact(), one.metadata.weights, arithmetic))
            own = all(setting[k] == v for k, v in one.metadata.defaults.items())
            if own and not found["error_over_bound"] <= 1.0:
                found |= {
                    "status": "failed",
                    "reason": f"error {found['max_ulp']:.4g} ulp, "
                    f"{found['error_over_bound']:.4g} times what is allowed",
                }
            yield cell.model_copy(update={**found, "elapsed_s": time.perf_counter() - started})

    return [Part(i.name, partial(measure, i)) for i in context.implementations]


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each input."""
    if OPERATION not in context.profile.operations or DTYPE not in context.profile.dtypes:
        return
    for workload in WORKLOADS:
        cells = tuple(
            _cell(context, i, workload, s) for i in context.implementations for s in settings(i)
        )
        parts = partial(_measure, context, workload)
        yield unit_of("attention", f"attention weights {workload}", cells, parts, 0.5)
