"""Cross-entropy of a linear layer, as the last layer of a language model: loss and gradients.

Some libraries never make the logits; what they do instead is judged against exact dot products.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.bounds import over_bound
from harness.bounds.linear_layer import linear_allowance
from harness.experiments.context import Context, Part, Unit, blank
from harness.experiments.judgement import arithmetic_of
from harness.experiments.side_by_side import once, unit_of
from harness.numerics.exact import Exact
from harness.numerics.formats import float_format, to_float64, to_hex
from harness.numerics.ulps import ulp_error
from harness.records import AttentionRecord, Record
from harness.reference import linear_cross_entropy_exact
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

OPERATION = "linear_cross_entropy"
ROWS, FEATURES, CLASSES = 8, 16, 64
RESULTS: tuple[Literal["loss", "hidden", "weight"], ...] = ("loss", "hidden", "weight")
LAYERS = {
    "layer(scale=1)": (1.0, 0.0),
    "layer(scale=10)": (10.0, 0.0),
    "layer(scale=1,offset=1000)": (1.0, 1000.0),
}
"""Name to the scale of its logits, and what they all have in common by a feature of its own."""


def inputs(
    name: str, dtype: str, seed: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Inputs, weights and targets; half of the targets have the largest logit of their row."""
    scale, offset = LAYERS[name]
    rng = np.random.default_rng(seed)
    kind = float_format(dtype).dtype
    hidden = rng.standard_normal((ROWS, FEATURES))
    weight = rng.standard_normal((CLASSES, FEATURES)) * scale / np.sqrt(FEATURES)
    if offset:
        hidden[:, 0], weight[:, 0] = 1.0, offset
    h, w = hidden.astype(kind), weight.astype(kind)
    targets = rng.integers(0, CLASSES, ROWS)
    top = (to_float64(h) @ to_float64(w).T).argmax(axis=1)
    return h, w, np.where(np.arange(ROWS) % 2, top, targets)


def _cells(
    context: Context, one: Implementation, dtype: str, name: str
) -> tuple[AttentionRecord, ...]:
    return tuple(
        blank(
            AttentionRecord, one, dtype, operation=OPERATION, kind="layer", result=result,
            workload=name, classes=CLASSES, rows=ROWS, seed=context.seed,
        )
        for result in RESULTS
    )  # fmt: skip


def judged(y: NDArray[Any], exact: Exact, allowed: NDArray[np.float64]) -> dict[str, Any]:
    """Fields of a record of one of the three results."""
    error = ulp_error(y, exact)
    ratio = np.nan_to_num(over_bound(error, allowed), nan=np.inf)
    worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    due = np.isfinite(exact.to_float64())
    finite = allowed[np.isfinite(allowed)]
    true = exact.to_float64()
    with np.errstate(invalid="ignore"):
        off = float(np.abs(to_float64(y) - true).max() / np.abs(true).max())
    fields: dict[str, Any] = {
        "status": "ok",
        "max_ulp": float(error.max()),
        "p99_ulp": float(np.quantile(error, 0.99, method="higher")),
        "correctly_rounded": float(np.mean(error <= 0.5)),
        "nonfinite": int(np.count_nonzero(~np.isfinite(to_float64(y)) & due)),
        "norm_u": off / float_format(y.dtype).unit_roundoff if np.isfinite(off) else None,
        "bound_ulp": float(finite.max()) if finite.size else None,
        "error_over_bound": float(ratio.max()),
        "worst_row": int(worst[0]),
        "worst_class": int(worst[1]) if len(worst) > 1 else None,
        "worst_got": to_hex(y[worst]),
        "worst_expected": to_hex(exact.round_to(float_format(y.dtype))[worst]),
    }
    if not fields["error_over_bound"] <= 1.0:
        fields |= {
            "status": "failed",
            "reason": f"error {fields['max_ulp']:.4g} ulp, {fields['error_over_bound']:.4g} times "
            f"what is allowed",
        }
    return fields


def _measure(context: Context, dtype: str, name: str) -> list[Part]:
    layer = inputs(name, dtype, context.seed)
    wide = (to_float64(layer[0]), to_float64(layer[1]), layer[2])
    exact = once(lambda: linear_cross_entropy_exact(*layer))

    def measure(one: Implementation) -> Iterator[Record]:
        cells, started = _cells(context, one, dtype, name), time.perf_counter()
        try:
            context.demand(one, OPERATION, dtype)
            found = call(context, one, layer)
            arithmetic = arithmetic_of(context, one, dtype)
        except WorkerFault as fault:
            yield from (cell.ended(fault.status, fault.reason) for cell in cells)
            return
        allowed = linear_allowance(wide, exact(), dtype, arithmetic)
        elapsed = (time.perf_counter() - started) / len(cells)
        for cell, y, e, most in zip(cells, found, exact(), allowed, strict=True):
            yield cell.model_copy(update={**judged(y, e, most), "elapsed_s": elapsed})

    return [Part(i.name, partial(measure, i)) for i in context.implementations]


def call(context: Context, one: Implementation, layer: tuple[NDArray[Any], ...]) -> Any:
    """The loss and both gradients.

    Raises:
        WorkerFault: the call failed, or gave something else.
    """
    request = {"operation": OPERATION, "options": {}}
    _, found = context.pool[one.name].call(request, layer, context.profile.timeout_s)
    due = [(layer[0].shape[:-1], layer[0].dtype), *((a.shape, a.dtype) for a in layer[:2])]
    got = [(a.shape, a.dtype) for a in found]
    if got != due:
        raise WorkerFault("failed", f"expected {_told(due)}; got {_told(got)}")
    return found


def _told(arrays: list[tuple[tuple[int, ...], Any]]) -> str:
    return " and ".join(f"{dtype} {list(shape)}" for shape, dtype in arrays) or "nothing"


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each format and layer."""
    if OPERATION not in context.profile.operations:
        return
    for dtype in context.profile.dtypes:
        for name in LAYERS:
            cells = tuple(
                c for i in context.implementations for c in _cells(context, i, dtype, name)
            )
            parts = partial(_measure, context, dtype, name)
            yield unit_of("attention", f"attention {dtype} {name}", cells, parts, 0.5)
