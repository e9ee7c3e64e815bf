"""What a call should give: certified values, the error allowed, where only a convention decides.

Everything in rows: the axes of the operation last, the others flattened; rows of unlike lengths as
they are, in one dimension. Kept for the process by
content, since many implementations are judged on the same input.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bounds.tolerances import (
    Arithmetic,
    backward_allowance,
    changed_allowance,
    cross_entropy_allowance,
    log_softmax_allowance,
    logsumexp_allowance,
    softmax_allowance,
)
from harness.experiments.conformance.call import Array, Step
from harness.numerics.exact import Exact, remembered
from harness.numerics.formats import Float64Array, FloatFormat, scale_by_power, to_float64
from harness.reference.api import lift, to_rows
from harness.reference.composed import Change, changed_rows
from harness.reference.memo import MEMO, certified, content_key
from harness.reference.operations import empty_exact
from harness.registry.contract import CHANGED, RAGGED

BoolArray = NDArray[np.bool_]
_SMALL = 1 << 14
"""Elements of a step that is evaluated together with others."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What one of the results of a step must be.

    Attributes:
        exact: (rows, classes) or (rows,), unrounded; (entries,) of rows of unlike lengths.
        fmt: the format of the result.
        allowed: ulps, of that shape.
        free: where mathematics has no finite answer and a convention decides; of that shape.
        alternatives: values that are accepted there beside NaN.
        source: another one, and which of its rows these are.
    """

    exact: Exact
    fmt: FloatFormat
    allowed: Float64Array
    free: BoolArray
    alternatives: tuple[Float64Array, ...]
    source: tuple[Expected, NDArray[np.intp]] | None = None

    @property
    def nbytes(self) -> int:
        return self.exact.hi.nbytes * (8 + len(self.alternatives))

    @cached_property
    def rounded(self) -> Float64Array:
        """The correctly rounded result, in float64; the same array whatever is allowed."""
        if self.source is not None:
            distinct, which = self.source
            return distinct.rounded[which]
        # Kept by content for all that are met on the same inputs under different allowances.
        exact, fmt = self.exact, self.fmt
        key = content_key(("rounded", fmt.name), exact.hi, exact.lo, exact.exponent)
        return MEMO.get(key, lambda: to_float64(exact.round_to(fmt)), lambda a: a.nbytes)


_ALLOWANCES = {
    "softmax": softmax_allowance,
    "log_softmax": log_softmax_allowance,
    "logsumexp": logsumexp_allowance,
}


def axes_of(step: Step, ndim: int) -> tuple[int, ...]:
    """The axes of the operation, as non-negative integers."""
    axis = -1 if step.axis == "default" or step.operation == "cross_entropy" else step.axis
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    return tuple(int(a) % ndim for a in given)


def rows_of(array: Array, axes: tuple[int, ...]) -> Array:
    """(rows, classes): the axes moved to the end and flattened."""
    return to_rows(array, axes)[0]


def step_rows(step: Step) -> list[Array]:
    """The arguments of a call in rows; targets are one number each, masks may be smaller."""
    shape = step.arrays[0].shape
    axes = axes_of(step, len(shape))
    targets = step.operation == "cross_entropy"
    return [rows_of(step.arrays[0], axes)] + [
        a.reshape(-1) if targets else rows_of(np.broadcast_to(a, shape), axes)
        for a in step.arrays[1:]
    ]


def change_of(step: Step) -> tuple[Change, BoolArray | None, float | None]:
    """What is done to the logits before softmax: the change, the mask in rows, the sink."""
    given = step.numbers
    mask = step_rows(step)[1] if step.operation == "masked_softmax" else None
    return Change(given.get("scale", 1.0), given.get("cap")), mask, given.get("sink")


def _distinct(*arrays: Float64Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the distinct rows, and for each row which of them it is; in order if all are."""
    joined = np.ascontiguousarray(np.concatenate(arrays, axis=1))
    if len(joined) < 3 or joined.shape[1] == 0:
        return np.arange(len(joined)), np.arange(len(joined))
    keys = joined.view(np.dtype((np.void, joined.shape[1] * 8))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(joined):
        return np.arange(len(joined)), np.arange(len(joined))
    return first, inverse.reshape(-1)


def _pick(expected: Expected, inverse: NDArray[np.intp]) -> Expected:
    return Expected(
        remembered(expected.exact[inverse]),
        expected.fmt,
        expected.allowed[inverse],
        expected.free[inverse],
        tuple(a[inverse] for a in expected.alternatives),
        (expected, inverse),
    )


def _placed(
    exact: Exact, allowed: Float64Array, fmt: FloatFormat, good: BoolArray,
    shape: tuple[int, ...], free: BoolArray, alternatives: tuple[Float64Array, ...] = (),
) -> Expected:  # fmt: skip
    """What the good rows must be, among rows that are NaN or that a convention decides."""
    room = np.zeros(shape)
    room[good] = allowed
    if not good.all():
        hi, lo, exponent = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape, np.int32)
        hi[good], lo[good], exponent[good] = exact.hi, exact.lo, exact.exponent
        exact = Exact(hi, lo, exponent)
    return Expected(exact, fmt, room, np.broadcast_to(free, shape), alternatives)


def _of_logits(
    operation: str, x: Float64Array, fmt: FloatFormat, arithmetic: Arithmetic
) -> tuple[Expected, ...]:
    rows, classes = x.shape
    nan = np.isnan(x).any(axis=1)
    infinite = (x == np.inf).any(axis=1) & ~nan
    empty = (x == -np.inf).all(axis=1) & ~nan
    good = ~(nan | infinite | empty)
    shape = (rows,) if operation == "logsumexp" else x.shape
    # Log-sum-exp of an empty row is log 0; its softmax is 0/0, which only a convention decides.
    open_rows = infinite if operation == "logsumexp" else (infinite | empty)[:, None]
    free = np.broadcast_to(open_rows, shape)
    ordinary = x[good]
    exact = certified(operation, ordinary)[0]
    allowed = exact.hi
    if good.any():
        allowed = _ALLOWANCES[operation](ordinary, exact, fmt, arithmetic)
    alternatives: tuple[Float64Array, ...] = ()
    if free.any():
        tops = np.maximum((x == np.inf).sum(axis=1, keepdims=True), 1)
        limit = np.where(x == np.inf, 1.0 / tops, 0.0)
        limit = np.where(empty[:, None], 0.0, limit)
        uniform = np.where(empty[:, None], 1.0 / max(classes, 1), limit)
        if operation == "softmax":
            alternatives = (limit, uniform)
        elif operation == "log_softmax":
            with np.errstate(divide="ignore"):
                alternatives = (np.log(limit), np.log(uniform))
    due = _placed(exact, allowed, fmt, good, shape, free, alternatives)
    if operation == "logsumexp" and not good.all():
        # log 0 and log inf are mathematics; NaN for the latter is the convention of some libraries.
        due.exact.hi[infinite], due.exact.hi[empty] = np.inf, -np.inf
    return (due,)


def _of_changed(
    x: Float64Array, change: Change, mask: BoolArray | None, sink: float | None, fmt: FloatFormat,
    arithmetic: Arithmetic,
) -> tuple[Expected, ...]:  # fmt: skip
    """Open are rows with +inf or a product beyond the format, and rows without a class.

    The contract asks for zeros in a row of which the mask keeps nothing. Beside a NaN that is
    kept, a masked class may be either.
    """
    z = change.approximate(x, mask)
    kept = np.ones(x.shape, np.bool_) if mask is None else mask
    nan = np.asarray(np.isnan(z).any(axis=1))
    beyond = (np.abs(z) > fmt.max) & (z != -np.inf)
    beyond = np.asarray(beyond.any(axis=1) & ~nan)
    empty = np.asarray((z == -np.inf).all(axis=1) & (sink is None or sink == -np.inf))
    good = ~(nan | beyond | empty)
    own = None if mask is None else mask[good]
    sinks = None if sink is None else np.full(np.count_nonzero(good), sink)
    exact = changed_rows(x[good], change, own, sinks)
    allowed = exact.hi
    if good.any():
        allowed = changed_allowance(x[good], change, own, sink, exact, fmt, arithmetic)
    free = (beyond | empty)[:, None] | (nan[:, None] & ~kept)
    limit = np.where(z == np.inf, 1.0 / np.maximum((z == np.inf).sum(1, keepdims=True), 1), 0.0)
    due = _placed(exact, allowed, fmt, good, x.shape, free, (limit,))
    if mask is not None and empty.any():
        due.exact.hi[empty] = 0.0
    return (due,)


def _of_backward(
    grad: Float64Array, y: Float64Array, fmt: FloatFormat, arithmetic: Arithmetic
) -> tuple[Expected, ...]:
    exact = certified("softmax_backward", grad, y)[0]
    with np.errstate(all="ignore"):
        allowed = backward_allowance(grad, y, exact, fmt, arithmetic)
    allowed = np.where(np.isnan(allowed), 0.0, allowed)
    free = np.zeros(y.shape, bool)
    return (Expected(exact, fmt, allowed, free, ()),)


def _of_cross_entropy(
    x: Float64Array, targets: NDArray[np.int64], fmt: FloatFormat, arithmetic: Arithmetic
) -> tuple[Expected, ...]:
    good = ~(np.isnan(x) | (x == np.inf)).any(axis=1) & ~(x == -np.inf).all(axis=1)
    free = ~good & ~np.isnan(x).any(axis=1)
    loss, gradient = certified("cross_entropy", x[good], targets[good])
    rows = (len(x),)
    if good.any():
        a, b = cross_entropy_allowance(x[good], targets[good], loss, gradient, fmt, arithmetic)
    else:
        a, b = loss.hi, gradient.hi
    return (
        _placed(loss, a, fmt, good, rows, free, (np.full(rows, np.inf),)),
        _placed(gradient, b, fmt, good, x.shape, free[:, None], (np.zeros(x.shape),)),
    )


def _of_ragged(
    values: Float64Array, offsets: NDArray[Any], fmt: FloatFormat, arithmetic: Arithmetic
) -> tuple[Expected, ...]:
    """What softmax of the rows of each length must be."""
    exact, lengths = empty_exact(values.shape), np.diff(offsets)
    allowed, limit, uniform = np.zeros((3, len(values)))
    free = np.zeros(len(values), np.bool_)
    for n in np.unique(lengths[lengths > 0]):
        places = offsets[:-1][lengths == n, None] + np.arange(n)
        (own,) = _of_logits("softmax", values[places], fmt, arithmetic)
        for part in ("hi", "lo", "exponent"):
            getattr(exact, part)[places] = getattr(own.exact, part)
        allowed[places], free[places] = own.allowed, own.free
        if own.alternatives:
            limit[places], uniform[places] = own.alternatives
    return (Expected(exact, fmt, allowed, free, (limit, uniform) if free.any() else ()),)


def _evaluate(step: Step, fmt: FloatFormat, arithmetic: Arithmetic) -> tuple[Expected, ...]:
    if step.operation == RAGGED:
        values, offsets = step.arrays
        return _of_ragged(lift(values), offsets, fmt, arithmetic)
    x, *second = step_rows(step)
    x = lift(x)
    if step.operation == "softmax_backward":
        y = lift(second[0])
        first, inverse = _distinct(x, y)
        found = _of_backward(x[first], y[first], fmt, arithmetic)
    elif step.operation == "cross_entropy":
        targets = second[0].astype(np.int64)
        first, inverse = _distinct(x, targets[:, None].astype(np.float64))
        found = _of_cross_entropy(x[first], targets[first], fmt, arithmetic)
    elif step.operation in CHANGED:
        change, mask, sink = change_of(step)
        first, inverse = _distinct(x, *([] if mask is None else [mask.astype(np.float64)]))
        own = None if mask is None else mask[first]
        found = _of_changed(x[first], change, own, sink, fmt, arithmetic)
    else:
        first, inverse = _distinct(x)
        found = _of_logits(step.operation, x[first], fmt, arithmetic)
    return found if len(first) == len(inverse) else tuple(_pick(e, inverse) for e in found)


def _key(step: Step, fmt: FloatFormat, arithmetic: Arithmetic) -> bytes:
    what = (step.operation, step.axis, fmt.name, arithmetic, *step.numbers.items())
    return content_key(what, *step.arrays)


def _bytes(found: tuple[Expected, ...]) -> int:
    return sum(e.nbytes for e in found)


def expected_of(step: Step, fmt: FloatFormat, arithmetic: Arithmetic) -> tuple[Expected, ...]:
    """What the results of `step` must be in the format `fmt`; see `Expected`."""
    arithmetic = arithmetic.relevant(step.operation, fmt)
    key = _key(step, fmt, arithmetic)
    return MEMO.get(key, lambda: _evaluate(step, fmt, arithmetic), _bytes)


def expect_all(steps: Sequence[Step], fmt: FloatFormat, arithmetic: Arithmetic) -> None:
    """Evaluate what many small steps on logits expect, those with rows of one length together.

    One by one they would take several times as long; `expected_of` then finds each in memory.
    """
    alike: dict[tuple[str, int], list[tuple[bytes, Float64Array]]] = defaultdict(list)
    for step in steps:
        if step.operation in _ALLOWANCES and step.arrays[0].size <= _SMALL:
            key = _key(step, fmt, arithmetic.relevant(step.operation, fmt))
            if key not in MEMO:
                x = lift(step_rows(step)[0])
                alike[step.operation, x.shape[1]].append((key, x))
    for (operation, _), members in alike.items():
        if len(members) > 1:
            first, inverse = _distinct(x := np.concatenate([rows for _, rows in members]))
            found = _of_logits(operation, x[first], fmt, arithmetic.relevant(operation, fmt))
            ends = np.cumsum([len(rows) for _, rows in members])
            for (key, _), part in zip(members, np.split(inverse, ends[:-1]), strict=True):
                own = tuple(_pick(e, part) for e in found)
                MEMO.get(key, lambda own=own: own, _bytes)  # type: ignore[misc]


def difference_of(got: Float64Array, exact: Exact) -> tuple[Float64Array, Float64Array]:
    """(got - exact, exact) in float64; the difference is right to its own last digits."""
    hi, lo = (scale_by_power(part, exact.exponent) for part in (exact.hi, exact.lo))
    with np.errstate(invalid="ignore"):
        return np.asarray((got - hi) - lo), hi


def softmax_of(x: Float64Array, axis: int | tuple[int, ...] | None = -1) -> Float64Array:
    """A softmax in float64, not certified."""
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return np.asarray(e / e.sum(axis=axis, keepdims=True))


def largest_at(values: NDArray[Any]) -> tuple[int, ...]:
    """The index of the largest element, of the first of equals."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(values)), values.shape))


def first_beyond(
    got: Float64Array, right: Float64Array, room: float | Float64Array
) -> tuple[int, ...] | None:
    """The first element that is off by more than `room`, or no number; None if none is."""
    with np.errstate(invalid="ignore"):
        bad = ~((np.abs(got - right) <= room) | (got == right))
    return largest_at(bad) if bad.any() else None


def result_rows(result: Array, step: Step) -> Array:
    """A result of `step` in the rows of its expectation."""
    if step.operation == RAGGED:
        return result.reshape(-1)
    if step.operation == "logsumexp" or (
        step.operation == "cross_entropy" and result.ndim < step.arrays[0].ndim
    ):
        return result.reshape(-1)
    return rows_of(result, axes_of(step, result.ndim))


def expected_shapes(step: Step) -> tuple[tuple[int, ...], ...]:
    """The shapes that the results of `step` must have."""
    shape = step.full_shape()
    if step.operation == "logsumexp":
        axes = axes_of(step, len(shape))
        return (tuple(n for i, n in enumerate(shape) if i not in axes),)
    if step.operation == "cross_entropy":
        return (shape[:-1], shape)
    return (shape,)


def index_of(place: Sequence[Any], step: Step, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index in a result of `shape` of an element (row, class) or (row,) in rows."""
    if not shape:
        return ()
    flat = int(place[0])
    if len(place) == 2:
        places = rows_of(np.arange(math.prod(shape)).reshape(shape), axes_of(step, len(shape)))
        flat = int(places[tuple(place)])
    return tuple(int(i) for i in np.unravel_index(flat, shape))
