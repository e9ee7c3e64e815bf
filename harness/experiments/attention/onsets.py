"""Where attention's operations stop being finite: scans of growing numbers, then bisection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.experiments.context import Context, Part, Unit, blank
from harness.experiments.side_by_side import unit_of
from harness.numerics.bisection import first_true
from harness.numerics.formats import float_format, from_ordinal, to_float64, to_hex, to_ordinal
from harness.records import AttentionRecord, Record
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

Over = Literal["logits", "scale", "offset"]
Array = NDArray[Any]
Call = tuple[tuple[Array, ...], dict[str, Any]]
"""The arrays of a call, and its options."""

LARGEST = 10.0
"""The largest logit while a scale grows."""
_SHAPE = np.array([1.0, 0.75, 0.5, 0.0])


def row_of(t: Array) -> Array:
    """The rows [t, 0.75 t, 0.5 t, 0], of the format of t."""
    return np.asarray((t.astype(np.float64)[:, None] * _SHAPE).astype(t.dtype))


def beside(t: Array) -> Array:
    """The rows [t, t - 1, t - 2, t - 3], of the format of t."""
    return np.asarray((t.astype(np.float64)[:, None] - np.arange(4.0)).astype(t.dtype))


@dataclass(frozen=True)
class Search:
    """What grows, and in which call.

    Attributes:
        points: numbers that are tried before the bisection.
        parameter, value: of the call, rounded to the format; None where it has none, or grows.
    """

    operation: str
    over: Over
    points: int
    parameter: Literal["scale", "cap", "sink", "mask"] | None = None
    value: float | None = None

    def call(self, t: Array, value: float | None) -> Call:
        """Of one number t, an array of length 1 (or of rows of several, where logits grow)."""
        options: dict[str, Any] = {"axis": -1}
        if self.over == "scale":
            x = row_of(np.array([LARGEST], t.dtype))
            return (x,), {**options, "scale": float(t[0])}
        x = row_of(t) if self.over == "logits" else beside(t)
        if self.operation == "masked_softmax":
            return (x, np.array([[True, False, True, True]])), options
        if self.operation == "merge_logsumexp":
            one = np.ones_like(t)
            return (x[:, 0].copy(), one, x[:, 1].copy(), one), {}
        if self.operation == "linear_cross_entropy":
            weight = _SHAPE.astype(t.dtype)[:, None]
            return (t[:, None], weight, np.zeros(len(t), np.int64)), {}
        return (x,), {**options, str(self.parameter): value}


SEARCHES = (
    Search("scaled_softmax", "logits", 1024, "scale", 0.1),
    Search("scaled_softmax", "scale", 64, "scale"),
    Search("scaled_softmax", "offset", 256, "scale", 0.1),
    Search("softcap_softmax", "logits", 64, "cap", 30.0),
    Search("softmax_with_sink", "logits", 64, "sink", 0.0),
    Search("masked_softmax", "logits", 64, "mask", 0.25),
    Search("merge_logsumexp", "logits", 64),
    Search("linear_cross_entropy", "logits", 64),
)


def _cell(context: Context, one: Implementation, dtype: str, search: Search) -> AttentionRecord:
    value = None if search.value is None else float(float_format(dtype).dtype.type(search.value))
    return blank(
        AttentionRecord, one, dtype, operation=search.operation, kind="onset",
        parameter=search.parameter, value=value, workload="growing", classes=4, rows=1,
        seed=context.seed, over=search.over,
    )  # fmt: skip


def growing(dtype: str, count: int, seed: int) -> Array:
    """Numbers of the format from 1 to its largest, ascending, their digits by chance."""
    fmt = float_format(dtype)
    exponents = np.linspace(0.0, np.log2(fmt.max), count + 1)[:-1]
    step = exponents[1] - exponents[0]
    drawn = np.random.default_rng(seed).uniform(0.0, step, count)
    return np.unique(np.exp2(exponents + drawn).astype(fmt.dtype))


def _measure(context: Context, one: Implementation, dtype: str, search: Search) -> Iterator[Record]:
    record, fmt = _cell(context, one, dtype, search), float_format(dtype)
    started = time.perf_counter()
    points = growing(dtype, search.points, context.seed)

    def call(t: Array) -> list[NDArray[np.float64]]:
        arrays, options = search.call(t, record.value)
        request = {"operation": search.operation, "options": options}
        _, found = context.pool[one.name].call(request, arrays, context.profile.timeout_s)
        return [to_float64(y) for y in found]

    def bad_at(ordinals: NDArray[np.int64]) -> NDArray[np.bool_]:
        each = (from_ordinal(ordinals[k : k + 1], fmt) for k in range(len(ordinals)))
        return np.array([not all(np.isfinite(y).all() for y in call(t)) for t in each])

    try:
        context.demand(one, search.operation, dtype)
        scan = to_ordinal(points)
        bad = np.flatnonzero(bad_at(scan))
        changes: dict[str, Any] = {"status": "ok", "occurs": bool(bad.size), "points": len(points)}
        if search == SEARCHES[0]:  # compilers make other code of many rows
            together = np.isfinite(call(points)[0]).all(axis=1)
            changes["together"] = None if together.all() else float(points[~together][0])
        if bad.size:
            good, end = None, int(scan[bad[0]])
            if bad[0]:
                good, end = first_true(bad_at, int(scan[bad[0] - 1]), end, 1)
            t = from_ordinal(np.array([end]), fmt)
            (x, *_), options = search.call(t, record.value)
            changes |= {
                "first_bad": float(t[0]),
                "last_good": None if good is None else float(from_ordinal(good, fmt)),
                "first_bad_logits": [to_hex(v) for v in x.reshape(-1)],
                "first_bad_scale": to_hex(np.float64(options["scale"]))
                if "scale" in options else None,
                "got_at_first_bad": [to_hex(v) for v in np.ravel(call(t)[0])],
            }  # fmt: skip
    except WorkerFault as fault:
        yield record.ended(fault.status, fault.reason)
        return
    yield record.model_copy(update={**changes, "elapsed_s": time.perf_counter() - started})


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each search, format and implementation."""
    asked = [s for s in SEARCHES if s.operation in context.profile.operations]
    for dtype in context.profile.dtypes:
        for one in context.implementations:
            for search in asked:
                part = Part(one.name, partial(_measure, context, one, dtype, search))
                label = f"attention onset {dtype} {one.name} {search.operation} {search.over}"
                cells = (_cell(context, one, dtype, search),)
                yield unit_of("attention", label, cells, partial(list[Part], (part,)), 0.2)
