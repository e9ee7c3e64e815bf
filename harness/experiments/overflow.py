"""Where results stop being right as logits grow: exact thresholds, and the map of outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.experiments.context import Context, Part, Unit, blank
from harness.experiments.judgement import bound_of, excuses, half_of_the_digits
from harness.experiments.side_by_side import once, unit_of
from harness.numerics.bisection import first_true
from harness.numerics.exact import Exact, remembered
from harness.numerics.formats import (
    FloatFormat,
    float_format,
    from_ordinal,
    to_float64,
    to_hex,
    to_ordinal,
)
from harness.numerics.outcomes import row_outcomes
from harness.numerics.ulps import ulp_error
from harness.records import OverflowRecord, Record
from harness.reference import softmax_exact
from harness.reference.memo import MEMO, bytes_of, content_key
from harness.registry.discovery import Implementation
from harness.worker.client import WorkerFault

Probe = Literal["dominant", "tie"]
Event = Literal["nonfinite", "zero", "inaccurate"]
PROBES: tuple[Probe, ...] = ("dominant", "tie")
EVENTS: tuple[Event, ...] = ("nonfinite", "zero", "inaccurate")
SIGNS: tuple[Literal[1, -1], ...] = (1, -1)

_SMALLEST_SCANNED = 2.0**-8


def probe_rows(t: NDArray[Any], probe: Probe) -> NDArray[Any]:
    """The rows [t, 0] (``dominant``) or [t, t] (``tie``): ``(len(t), 2)``, of t's dtype."""
    second = t if probe == "tie" else np.zeros_like(t)
    return np.stack([t, second], axis=-1)


def events_of(y: NDArray[Any], exact: Exact, fmt: FloatFormat) -> dict[Event, NDArray[np.bool_]]:
    """Which event each row of `y` shows, against the exact result.

    ``nonfinite``: a NaN or infinity where a finite value is due; ``zero``: a 0 whose correctly
    rounded value is not 0; ``inaccurate``: a finite value off by more than half of the digits.
    """
    computed = to_float64(y)
    expected = to_float64(exact.round_to(fmt))
    error = ulp_error(y, exact, fmt)
    bad = ~np.isfinite(computed) & np.isfinite(expected)
    flushed = (computed == 0) & (expected != 0)
    off = np.isfinite(error) & (error > half_of_the_digits(fmt)) & np.isfinite(computed)
    masks: dict[Event, NDArray[np.bool_]] = {"nonfinite": bad, "zero": flushed, "inaccurate": off}
    return {event: np.asarray(mask.any(axis=-1)) for event, mask in masks.items()}


def _scan(dtype: str, probe: Probe, sign: int, points: int) -> tuple[NDArray[np.int64], Exact]:
    """The magnitudes of a first scan, as ordinals, and their exact results: everybody's."""
    fmt = float_format(dtype)
    lowest = int(to_ordinal(np.array(_SMALLEST_SCANNED, dtype=fmt.dtype)))
    highest = int(to_ordinal(np.array(fmt.max, dtype=fmt.dtype)))
    scan = np.unique(np.linspace(lowest, highest, points).astype(np.int64))
    scan[-1] = highest
    exact = MEMO.get(
        content_key(("scan", dtype, probe, sign), scan),
        lambda: remembered(softmax_exact(probe_rows(from_ordinal(sign * scan, fmt), probe))),
        lambda found: bytes_of((found,)),
    )
    return scan, exact


@dataclass
class ThresholdProber:
    """Evaluates events of one implementation along one probe, counting the evaluations."""

    context: Context
    implementation: Implementation
    fmt: FloatFormat
    probe: Probe
    sign: Literal[1, -1]
    evaluations: int = 0

    def rows(self, magnitudes: NDArray[np.int64]) -> NDArray[Any]:
        return probe_rows(from_ordinal(self.sign * magnitudes, self.fmt), self.probe)

    def outputs(
        self, magnitudes: NDArray[np.int64], exact: Exact | None = None
    ) -> tuple[NDArray[Any], Exact]:
        x = self.rows(magnitudes)
        self.evaluations += len(x)
        y = self.context.call(self.implementation, "softmax", x, axis=-1)
        return y, softmax_exact(x) if exact is None else exact

    def events(
        self, magnitudes: NDArray[np.int64], exact: Exact | None = None
    ) -> dict[Event, NDArray[np.bool_]]:
        return events_of(*self.outputs(magnitudes, exact), self.fmt)


def _thresholds(
    context: Context, implementation: Implementation, dtype: str, probe: Probe, sign: Literal[1, -1]
) -> Iterator[Record]:
    started = time.perf_counter()
    base = _threshold_coordinates(implementation, dtype, probe, sign)
    prober = ThresholdProber(context, implementation, float_format(dtype), probe, sign)
    try:
        context.demand(implementation, "softmax", dtype)
        scan, exact = _scan(dtype, probe, sign, context.profile.scan_points)
        scanned = prober.events(scan, exact)
        for event, record in zip(EVENTS, base, strict=True):
            yield _threshold(prober, event, record, scan, scanned[event], started)
    except WorkerFault as fault:
        yield from (record.ended(fault.status, fault.reason) for record in base)


def _threshold(
    prober: ThresholdProber,
    event: Event,
    record: OverflowRecord,
    scan: NDArray[np.int64],
    flags: NDArray[np.bool_],
    started: float,
) -> OverflowRecord:
    changes: dict[str, Any] = {"status": "ok", "reason": None}
    if event == "inaccurate":
        changes["tolerance_ulp"] = half_of_the_digits(prober.fmt)
    where = np.flatnonzero(flags)
    if not where.size:
        changes["occurs"] = False
    elif where[0] == 0:
        x = prober.rows(scan[:1])[0]
        changes |= {"status": "failed", "occurs": True}
        changes["reason"] = f"already so at the first point scanned, {float(x[0])!r}"
        changes |= {"first_bad": float(x[0]), "first_bad_hex": to_hex(x[0])}
    else:
        at = int(where[0])
        good, bad = first_true(
            lambda ordinals: prober.events(ordinals)[event],
            int(scan[at - 1]), int(scan[at]), prober.context.profile.scan_points,
        )  # fmt: skip
        # Alone, not in a batch: the row that the record names must show it by itself.
        alone = [prober.events(np.array([o]))[event][0] for o in (good, bad)]
        y, exact = prober.outputs(np.array([bad]))
        last, first = (float(prober.rows(np.array([o]))[0, 0]) for o in (good, bad))
        changes |= {
            "occurs": True,
            "last_good": last,
            "last_good_hex": to_hex(last),
            "first_bad": first,
            "first_bad_hex": to_hex(first),
            "got_at_first_bad": [to_hex(v) for v in y[0]],
            "expected_at_first_bad": [to_hex(v) for v in exact.round_to(prober.fmt)[0]],
        }
        if alone != [False, True]:
            changes |= {"status": "failed"}
            changes["reason"] = "the result of a row depends on the rows beside it"
    changes["evaluations"] = prober.evaluations
    changes["elapsed_s"] = time.perf_counter() - started
    return record.model_copy(update=changes)


def _threshold_coordinates(
    implementation: Implementation, dtype: str, probe: Probe, sign: Literal[1, -1]
) -> tuple[OverflowRecord, ...]:
    return tuple(
        blank(
            OverflowRecord, implementation, dtype, classes=2, rows=1,
            kind="threshold", probe=probe, sign=sign, event=event,
        )
        for event in EVENTS
    )  # fmt: skip


def map_offsets(context: Context, dtype: str) -> tuple[float, ...]:
    """Offsets of the map that the format can hold with some room, both signs and zero, sorted."""
    largest = float_format(dtype).max * 0.95
    positive = [o for o in context.profile.map_offsets if o <= largest]
    return (*(-o for o in reversed(positive)), 0.0, *positive)


def _map_coordinates(
    context: Context, implementation: Implementation, dtype: str, classes: int
) -> tuple[OverflowRecord, ...]:
    return tuple(
        blank(
            OverflowRecord, implementation, dtype, workload="offset", classes=classes, rows=1,
            seed=context.seed, kind="map", offset=offset,
        )
        for offset in map_offsets(context, dtype)
    )  # fmt: skip


def _map(context: Context, dtype: str, classes: int) -> list[Part]:
    """A column of the map for every implementation."""

    def rows() -> NDArray[Any]:
        offsets = map_offsets(context, dtype)
        made = (
            workloads.generate("offset", classes, 1, dtype, context.seed, offset=offset)
            for offset in offsets
        )
        return np.concatenate(list(made))

    x = once(rows)
    exact = once(lambda: remembered(softmax_exact(x())))

    def measure(implementation: Implementation) -> Iterator[Record]:
        started = time.perf_counter()
        base = _map_coordinates(context, implementation, dtype, classes)
        refusal = context.refusal(implementation, "softmax", dtype)
        if refusal is not None:
            yield from (record.ended(*refusal) for record in base)
            return
        try:
            y = context.call(implementation, "softmax", x(), axis=-1)
        except WorkerFault as fault:
            lost = "crashed" if fault.status in ("crashed", "timeout") else "raises"
            for record in base:
                ended = record.ended(fault.status, fault.reason)
                yield ended.model_copy(update={"outcome": lost})
            return
        elapsed = (time.perf_counter() - started) / len(base)
        for record in _judge_map(context, implementation, dtype, base, x(), y, exact()):
            yield record.model_copy(update={"elapsed_s": elapsed})

    return [Part(i.name, partial(measure, i)) for i in context.implementations]


def _judge_map(
    context: Context,
    implementation: Implementation,
    dtype: str,
    base: Sequence[OverflowRecord],
    x: NDArray[Any],
    y: NDArray[Any],
    exact: Exact,
) -> Iterator[OverflowRecord]:
    """The record of each row of a map."""
    bound = bound_of(context, implementation, x, exact, dtype)
    error = ulp_error(y, exact)
    ratio = bound.ratio(error)
    explained = excuses(implementation.metadata.deviations, x, y, exact, ratio, bound)
    outcomes = row_outcomes(y, exact, tolerance=bound.tolerance, error=error)
    for i, (record, found) in enumerate(zip(base, outcomes, strict=True)):
        over = float(ratio[i].max())
        good = over <= 1.0
        yield record.model_copy(
            update={
                "status": "ok" if good else "failed",
                "reason": None if good else f"{found}: {over:.4g} times the bound {bound.name!r}",
                "deviation": None if good else explained[i],
                "outcome": found,
                "max_ulp": float(error[i].max()),
            }
        )


def plan(context: Context) -> Iterator[Unit]:
    """A unit for each implementation, format, probe and sign, and one for each column of maps."""
    if "softmax" not in context.profile.operations:
        return
    for dtype in context.profile.dtypes:
        for implementation in context.implementations:
            for probe in PROBES:
                for sign in SIGNS:
                    measure = partial(_thresholds, context, implementation, dtype, probe, sign)
                    part = Part(implementation.name, measure)
                    yield unit_of(
                        "overflow",
                        f"overflow {dtype} {implementation.name} {probe}",
                        _threshold_coordinates(implementation, dtype, probe, sign),
                        partial(list[Part], (part,)),
                        0.15,
                    )
        for classes in context.profile.map_classes:
            coordinates = tuple(
                record
                for implementation in context.implementations
                for record in _map_coordinates(context, implementation, dtype, classes)
            )
            yield unit_of(
                "overflow",
                f"overflow map {dtype} {classes}",
                coordinates,
                partial(_map, context, dtype, classes),
                0.2 + classes * 3e-5,
            )
