"""More elements than small indices tell apart: beyond 2**24 in all, beyond 2**22 in a row.

Few rows, whose count is a prime, are repeated by whoever holds the implementation until there are
millions. Every element of every repetition is judged, by the least and the greatest of its kind:
an offset of 16, 20 or 24 bits, a float32 that counts, blocks that were never launched, a row in a
thousand at random. No power of two is a multiple of the prime, so that no row can stand in for
one that lies a power of two before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.experiments.conformance.call import Step
from harness.experiments.conformance.case import OPERATIONS, Case
from harness.experiments.conformance.case_run import Trial, named
from harness.experiments.conformance.expected import (
    expected_of,
    expected_shapes,
    first_beyond,
    index_of,
    result_rows,
)
from harness.experiments.conformance.observation import Observation
from harness.numerics.formats import Float64Array, to_float64, ulp

ROWS = (1 << 22) + 37
"""Beyond 2**22, and in no tile."""
LONG = (1 << 22) + 5
_PERIOD, _LONG_PERIOD = 1021, 8191  # primes
_BYTES = 2 << 30
_SMALLER = 64
_TIMES_BUDGET, _LEAST_S = 4.0, 3.0


@dataclass(frozen=True, eq=False)
class _Right:
    """What one result must be, for the arguments that are repeated; in rows, in float64.

    Attributes:
        least, greatest: of the repetitions of each element; equal but where a target is.
        room: how far each may be off.
    """

    least: Float64Array
    greatest: Float64Array
    room: Float64Array


def _index(step: Step, part: int, spot: Sequence[int], repetition: int) -> tuple[int, ...]:
    """Where an element (row, class) of a repetition stands in the result as it was given."""
    shape = expected_shapes(replace(step, tiled=None))[part]
    index = list(index_of(spot, step, shape))
    axis = next((i for i, n in enumerate(expected_shapes(step)[part]) if n != shape[i]), None)
    if axis is not None:
        index[axis] += repetition * shape[axis]
    return tuple(index)


def _judged(trial: Trial, step: Step, rights: Sequence[_Right]) -> Observation:
    """Every element of every repetition."""
    most = max(_TIMES_BUDGET * trial.budget_s, _LEAST_S)
    trial.refuse_what_is_too_large(step, _BYTES, most, _SMALLER)
    result = replace(trial, timeout_s=2 * trial.timeout_s).sound(step)
    extremes, places = result.arrays[: len(rights)], result.arrays[len(rights) :]
    for part, right in enumerate(rights):
        for half, value in enumerate((right.least, right.greatest)):
            got = to_float64(result_rows(extremes[part][half], step))
            spot = first_beyond(got, value, right.room)
            if spot is None:
                continue
            repetition = int(result_rows(places[part][half], step)[spot])
            name = named(step, part, _index(step, part, spot, repetition))
            given = trial.given(step)
            return trial.unlike(step, name, given, got[spot], value[spot], grade="failure")
    return Observation("pass", "accurate")


def _short(trial: Trial, classes: int, axis: int) -> Step:
    """Rows of few classes, along the last axis or the first, repeated to `ROWS`."""
    x = trial.array(np.clip(trial.rng(classes).normal(size=(_PERIOD, classes)), -4.0, 4.0))
    grad = trial.array(trial.rng(classes, 1).normal(size=x.shape))
    if axis == 0:
        x, grad = np.ascontiguousarray(x.T), np.ascontiguousarray(grad.T)
    step = trial.step(x, axis, grad=grad, targets=np.arange(_PERIOD) % classes)
    return replace(step, tiled=(0 if axis == -1 else 1, ROWS))


def many_rows(trial: Trial) -> Iterator[Observation]:
    """More than 2**22 rows, and as many columns: within the bounds of short rows."""
    native = trial.dtype == "float32"
    shapes = [(3 if native else 2, -1)]
    if trial.operation != "cross_entropy" and (native or trial.thorough):
        shapes.append((2, 0))
    for classes, axis in shapes:
        step = _short(trial, classes, axis)
        due = expected_of(step, trial.fmt, trial.arithmetic)
        rooms = [(e.allowed + 1.0) * ulp(e.rounded, trial.fmt) for e in due]
        rights = [_Right(e.rounded, e.rounded, r) for e, r in zip(due, rooms, strict=True)]
        yield _judged(trial, step, rights)


def _long(trial: Trial) -> tuple[Step, Float64Array, Float64Array]:
    """The call, which elements count, and how many do in each row once it is repeated.

    All that count are alike, so that the sums are whole numbers, and exact in every order: the
    first of every period, and the one that is the last of all. The others are -inf, or vanish, or
    are so small in one row that all of them together come to nothing beside one that counts.
    """
    first, last = 0, (LONG - 1) % _LONG_PERIOD
    # Five rows of float32 are more than 2**24 elements.
    five = trial.dtype == "float32"
    places = [[first], [last], [5], [first], [last]] if five else [[first, last]]
    counts = np.zeros((len(places), _LONG_PERIOD))
    for row, own in zip(counts, places, strict=True):
        row[own] = 1.0
    repetitions = [-(-(LONG - i) // _LONG_PERIOD) for i in range(_LONG_PERIOD)]
    k = (counts * repetitions).sum(axis=1, keepdims=True)
    if trial.operation == "softmax_backward":
        arrays = trial.array(np.ones(counts.shape)), trial.array(counts * 2.0**-10)
        return Step(trial.operation, arrays, tiled=(1, LONG)), counts, k
    x = np.where(counts > 0, 0.0, -np.inf)
    x[1:2] = np.maximum(x[1:2], -9000.0)
    x[2:3] = np.maximum(x[2:3], trial.rng(3).uniform(-60.0, -40.0, size=_LONG_PERIOD))
    targets = [max(own) for own in places]
    targets[-1] = LONG - 1
    step = trial.step(trial.array(x), targets=np.array(targets))
    return replace(step, tiled=(1, LONG)), counts, k


def _of_long(trial: Trial) -> tuple[Step, list[_Right]]:
    """The call of `_long` and what it must give, by bounds that do not grow with the row."""
    step, counts, k = _long(trial)
    _, u, e, out = trial.roundings
    log = np.log(k)
    of_log = ((2.0 + e) * log + 4.0) * u + 2 * log * out
    if step.operation == "softmax_backward":
        value = counts * 2.0**-10 * (1.0 - k * 2.0**-10)
        return step, [_Right(value, value, counts * 2.0**-8 * (4.0 * u + out))]
    if step.operation == "logsumexp":
        return step, [_Right(log[:, 0], log[:, 0], of_log[:, 0])]
    if step.operation == "log_softmax":
        x = to_float64(step.arrays[0])
        value = x - log
        size = np.where(np.isinf(x), 0.0, np.abs(value))
        return step, [_Right(value, value, of_log + 2.0 * size * trial.fmt.unit_roundoff)]
    x = to_float64(step.arrays[0])
    p = np.exp(x) / k
    gap = np.where(p > 0, -x, 0.0)  # of logits that vanish, nothing is left that could be off
    room = p * ((2 * e + gap + 2 * log + 4.0) * u + 2 * out) + counts * trial.fmt.smallest_subnormal
    if step.operation == "softmax":
        return step, [_Right(p, p, room)]
    least = p.copy()
    rows, targets = np.arange(len(p)), step.arrays[1] % _LONG_PERIOD
    least[rows, targets] -= 1.0
    room[rows, targets] += 2.0 * u + out
    return step, [_Right(log[:, 0], log[:, 0], of_log[:, 0]), _Right(least, p, room)]


def long_rows(trial: Trial) -> Iterator[Observation]:
    """Rows of more than 2**22 classes: five in float32, one in float16."""
    yield _judged(trial, *_of_long(trial))


_FORMATS = ("float32", "float16")
_SHARED = ("overflow", "underflow", "flushes", "log-of-p", "saturation", "stalled-sum")
CASES = (
    Case("31-millions-of-rows", 31, "more than 2**22 rows and 2**24 elements", many_rows,
         OPERATIONS, _FORMATS, deviations=_SHARED),
    Case("31-millions-of-classes", 31, "rows of more than 2**22 classes, whose sum is exact",
         long_rows, OPERATIONS, _FORMATS, deviations=(*_SHARED, "float16-sum")),
)  # fmt: skip
