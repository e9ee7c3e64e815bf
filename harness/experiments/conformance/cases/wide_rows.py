"""Wide rows, judged by limits that do not grow with the number of classes.

The bound of a sum of n terms allows n u: at 32,000 classes in float32 that is 0.2%, and judges
nothing. So the error of a row is taken apart. What all its elements share is the error of the
row's sum (and of its reciprocal or logarithm); what is left belongs to each element alone, to its
exponential and its roundings. Neither need grow with n: real orders of summation lose tens of u at
10^5 classes, which sums of the same exponentials in those orders show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import count
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.conformance.call import Array, Result, Step
from harness.experiments.conformance.case import FLOATS, OPERATIONS, Case
from harness.experiments.conformance.case_run import Trial, kind_of, softmax_like
from harness.experiments.conformance.expected import difference_of, result_rows, step_rows
from harness.experiments.conformance.observation import Grade, Observation, worst
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, to_float64
from harness.reference.memo import MEMO, bytes_of, certified, content_key
from harness.workloads.class_counts import NAMED

_LEAST_BITS, _BITS_AT_FIRST, _BITS = 12, 18, 21
"""Widths are beyond 2**12; a look at many goes up to 2**18, all of them up to 2**21."""
NAMED_COUNTS = (*(c.classes for c in NAMED if c.classes > 4096), 393_216)
"""Those of `softmax-bench list classes`, and one of a benchmark of kernels."""
_LEAST_WIDE = 6151
"""A prime that is beyond every count that is asked one by one, and short of all the others."""
_NEAR = 20.0
"""Below the maximum by less, as ordinary logits are, one rounding of the difference is granted."""
_BATCH = 32
"""Rows before the one that is judged, in one batch of a named count."""
_ENOUGH = 1 << 15
"""Of more elements than that, as many are asked for what they share."""
_NARROW = 24
"""Bits of precision for which float64 is wide enough to be held against."""
_FEWEST = 64
"""Elements in the normal range from which the error that a row shares is estimated."""
_BLOCKS = (128, 256, 512, 1024, 2048, 4096)
_LANES = (4, 8, 16, 32)
_FEW_ORDERS = 1 << 18
"""Of longer rows only the orders that err most are tried: term after term, largest first too, and
in few lanes."""
_GROUP = 512
"""Classes that hold most of a peaked row: float16 has no normal number for one in 32,000."""


def _odd(n: int) -> int:
    """The next odd number that is a multiple of 3, 5 or 7."""
    return next(m for m in count(n | 1, 2) if any(m % d == 0 for d in (3, 5, 7)))


@cache
def _prime(n: int) -> int:
    """The next prime."""
    return next(m for m in count(n | 1, 2) if all(m % d for d in range(3, isqrt(m) + 1, 2)))


_FAMILIES: tuple[Callable[[int], int], ...] = (
    lambda bits: 2 << bits,
    lambda bits: (2 << bits) - 1,
    lambda bits: (1 << bits) + 1,
    lambda bits: 3 << (bits - 1),
    lambda bits: _odd(5 << (bits - 2)),
    lambda bits: _prime(11 << (bits - 3)),
)
"""Of the widths beyond 2**bits, up to twice that: that end a tile, one before and one after that,
and that no tile divides."""


@dataclass(frozen=True)
class Width:
    """A class count, and along which axis it lies: the last, the first, or the middle one (1)."""

    classes: int
    axis: int = -1


def widths(trial: Trial) -> list[Width]:
    """Every family at every size, each along one axis; of a look at many, each family once.

    A Latin square: from one operation or format to the next, and with the seed, a family is of the
    next size and along the next axis, so that over all of them each meets each.
    """
    turn = OPERATIONS.index(trial.operation) + FLOATS.index(trial.dtype) + trial.seed
    axes = (-1,) if trial.operation == "cross_entropy" else (-1, 0, 1)
    sizes = range(_LEAST_BITS, _BITS if trial.thorough else _BITS_AT_FIRST)
    found = []
    for place, family in enumerate(_FAMILIES):
        for i, bits in enumerate(sizes):
            if trial.thorough or i == (place + turn) % len(sizes):
                found.append(Width(family(bits), axes[(place + i + turn) % len(axes)]))
    if trial.thorough:  # whatever there is time for is of all families and sizes
        found = [found[i] for i in trial.rng(len(found)).permutation(len(found))]
    return found


def _running(terms: Float64Array, fmt: FloatFormat) -> Float64Array:
    """Sums along the last axis, term after term, each rounded to `fmt`."""
    with np.errstate(over="ignore", invalid="ignore"):
        cumulated = np.add.accumulate(terms.astype(fmt.dtype), axis=-1)
    return to_float64(cumulated[..., -1])


def _orders(terms: Float64Array, fmt: FloatFormat) -> Iterator[Float64Array]:
    """Sums of a row in the orders of real kernels: sequential, lanes, blocks, pairwise."""
    few = len(terms) > _FEW_ORDERS
    for order in (terms, terms[::-1], *([np.sort(terms)[::-1]] if few else [])):
        yield _running(order, fmt)
    for width in _LANES[:2] if few else (*_LANES, *_BLOCKS):
        whole = np.pad(terms, (0, -len(terms) % width)).reshape(-1, width)
        yield _running(_running(whole.T, fmt), fmt)  # strided lanes
        if not few:
            yield _running(_running(whole, fmt), fmt)  # blocks
    while not few:  # by halves
        terms = _running(np.pad(terms, (0, len(terms) % 2)).reshape(-1, 2), fmt)
        if len(terms) == 1:
            yield terms[0]
            return


def summation_error(terms: Float64Array, fmt: FloatFormat) -> float:
    """The largest error of those sums of one row of terms, in u of `fmt`.

    Of positive terms over the sum itself, by which a row is divided: one that stalls at an eighth
    makes every element eight times too large. Of others over the sum of their sizes.
    """
    rounded = to_float64(terms.astype(fmt.dtype))
    true, size = float(np.sum(rounded.astype(np.longdouble))), float(np.sum(np.abs(rounded)))
    worst = 0.0
    for s in map(float, _orders(rounded, fmt)):
        over = min(abs(s), size) if np.all(rounded >= 0) else size
        with np.errstate(invalid="ignore", divide="ignore"):
            worst = max(worst, float(np.nan_to_num(np.divide(abs(s - true), over), nan=np.inf)))
    return worst / fmt.unit_roundoff


def _control(terms: Float64Array, fmt: FloatFormat) -> float:
    """`summation_error`, kept for the implementations that come after on the same row."""
    key = content_key(("orders", fmt.name), terms)
    return MEMO.get(key, lambda: summation_error(terms, fmt), lambda _: 64)


def reference(fmt: FloatFormat, operation: str, *arrays: Array) -> tuple[Exact, ...]:
    """The exact results along the last axis, to 2**-10 u of `fmt` and better.

    In float64 for the narrower formats, in long double for float64: limits of several u leave room
    for its errors, and a certified result takes many times as long. Where long double is no wider,
    certified.
    """
    wide = np.dtype(np.float64 if fmt.precision <= _NARROW else np.longdouble)
    if fmt.precision > _NARROW and np.finfo(np.longdouble).nmant < 63:
        return certified(operation, *arrays)
    key = content_key(("wide", wide.name, operation), *arrays)
    return MEMO.get(key, lambda: evaluated(wide, operation, *arrays), bytes_of)


def evaluated(wide: np.dtype[Any], operation: str, *arrays: Array) -> tuple[Exact, ...]:
    """The results of an operation along the last axis as the format `wide` has them."""
    x = arrays[0].astype(wide)
    if operation == "softmax_backward":
        y = arrays[1]
        return (_pair(y * (x - (x * y).sum(axis=-1, keepdims=True))),)
    top = x.max(axis=-1, keepdims=True)
    e = np.exp(x - top)
    total = e.sum(axis=-1, keepdims=True)
    if operation == "softmax":
        return (_pair(e / total),)
    value = top + np.log(total)
    if operation == "logsumexp":
        return (_pair(value[..., 0]),)
    if operation == "log_softmax":
        return (_pair(x - value),)
    rows, targets = np.arange(len(x)), arrays[1]
    gradient = e / total
    gradient[rows, targets] -= 1.0
    return _pair(value[..., 0] - x[rows, targets]), _pair(gradient)


def _pair(value: NDArray[Any]) -> Exact:
    hi = value.astype(np.float64)
    return Exact(hi, (value - hi).astype(np.float64), np.zeros(hi.shape, np.int32))


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of one row, in a unit in which its elements share what the row gets wrong.

    Attributes:
        error: signed; relative for probabilities, absolute for logarithms, over y for gradients.
        own: what each element may be off by itself.
        least: what all of them may be off together, if their sum were exact.
        order: what orders of summation add to that; asked for where it decides.
    """

    error: Float64Array
    own: Float64Array
    least: float
    order: Callable[[], float]

    def common(self) -> tuple[float, float]:
        """What the elements share, from those that can tell it best, and how well they can."""
        own, error = _some(self.own), _some(self.error)
        best = own <= np.quantile(own, 0.25)
        return float(np.median(error[best])), float(own[best].max())

    def excess(self) -> Float64Array:
        """How far each element is off beside what the row shares, over what it may be."""
        common, doubt = self.common()
        with np.errstate(invalid="ignore"):
            off = np.abs(self.error - common) / (self.own + doubt)
        return np.nan_to_num(off, nan=np.inf)


def _some(values: Float64Array) -> Float64Array:
    """Evenly spread over a long row, as many as are enough."""
    return values[:: len(values) // _ENOUGH + 1]


def _rescaled(terms: Float64Array) -> float:
    """What an online sum rescales when it meets a larger logit, over the sum: 0 if it never does.

    Four times that in the order of the row: those of lanes and blocks meet others.
    """
    largest = np.maximum.accumulate(terms)
    grown = np.flatnonzero(largest[1:] > largest[:-1])
    before = np.cumsum(terms)
    return 4.0 * float((before[grown] / before[-1]).sum())


def _of_probabilities(
    trial: Trial, x: Float64Array, got: Float64Array, exact: Exact, first: int = 0
) -> Errors:
    inside, u, e, rounding = trial.roundings
    difference, p = difference_of(got, exact)
    normal = (p >= trial.fmt.smallest_normal) & (np.arange(len(p)) >= first)
    gap = x.max() - x
    terms = np.exp(-gap)
    log_sum = float(np.log(terms.sum()))
    shift = 2.0 * (abs(float(x.max())) + log_sum) + float(np.sum(terms * gap) / terms.sum())
    shift += (e + 2.0) * _rescaled(terms)
    error = difference[normal] / p[normal]
    # x - max - ln s rounds twice: what is far below the maximum tells how it was taken.
    far = gap[normal] + np.maximum(gap[normal] - _NEAR, 0.0)
    own = (e + far + log_sum + 4.0) * u + rounding
    # (1 + c)(1 + r) - 1: where a sum stalls at an eighth, what is left is eight times as large.
    if len(error):
        own *= max(1.0, 1.0 + float(np.median(_some(error))))
    least = (2 * e + shift + 8.0) * u + rounding
    return Errors(error, own, least, lambda: 4.0 * _control(terms, inside) * u)


def _of_logarithms(trial: Trial, x: Float64Array, got: Float64Array, exact: Exact) -> Errors:
    """Of log_softmax (a row), log-sum-exp or a loss (one number)."""
    inside, u, e, _ = trial.roundings
    difference, value = difference_of(got, exact)
    terms = np.exp(x - x.max())
    log_sum = float(np.log(terms.sum()))
    own = (2.0 * np.abs(value) + x.max() - x.min() + log_sum + 2.0) * u
    own += np.abs(value) * trial.fmt.unit_roundoff
    shift = 2.0 * (abs(float(x.max())) + (1.0 + e) * log_sum) + float(np.ptp(x))
    shift += (e + 2.0) * _rescaled(terms)
    least = (2 * e + shift + 8.0) * u
    return Errors(difference, own, least, lambda: 4.0 * _control(terms, inside) * u)


def _of_products(
    trial: Trial, grad: Float64Array, y: Float64Array, got: Float64Array, exact: Exact
) -> Errors:
    """Of softmax_backward, y (g - Σ g y): over y, all elements share the error of the sum."""
    inside, u, _, out = trial.roundings
    difference, value = difference_of(got, exact)
    # Where the result is normal: below, its rounding has nothing to do with its size.
    normal = (y >= trial.fmt.smallest_normal) & (np.abs(value) >= trial.fmt.smallest_normal)
    terms = grad * y
    total = float(np.abs(terms).sum())
    own = 2.0 * (np.abs(grad) + abs(float(terms.sum()))) * u
    own += np.abs(np.divide(value, y, out=np.zeros_like(y), where=y > 0)) * out
    return Errors(
        difference[normal] / y[normal], own[normal], 8.0 * total * u,
        lambda: 4.0 * _control(terms, inside) * total * u,
    )  # fmt: skip


def _rows(trial: Trial, n: int) -> Float64Array:
    """An ordinary row, a peaked one, and stairs.

    The largest logit of the first two comes first: nothing is rescaled. The third rises over all
    that the format holds, and its maximum is in the last eighth.
    """
    rng = trial.rng(n, 6)
    x = np.clip(rng.normal(size=(3, n)), -4.0, 4.0)
    x[1] -= np.log(n / _GROUP) + 3.0
    x[1, rng.choice(n, _GROUP, replace=False)] = np.clip(rng.normal(size=_GROUP), -3.0, 3.0)
    x[:2, 0] = 4.5
    deepest = min(-np.log(trial.fmt.smallest_normal) - np.log(n) - 6.0, 300.0)
    stairs = np.array([1.0, 0.75, 0.5, 0.25, 0.1, 0.0, 0.0, 0.0]) * -max(deepest, 0.0)
    stairs[-3:] = -2.5, -1.0, 0.0
    x[2] = stairs[np.arange(n) * len(stairs) // n] + 0.25 * x[2]
    return x


@dataclass(frozen=True, eq=False)
class _Call:
    """A call on wide rows.

    Attributes:
        step: the call.
        rows: its arguments, those that differ, in rows and in float64; targets as they are.
        which: of each row of the result, which of `rows` it is of.
        first: where the rows begin that are judged.
    """

    step: Step
    rows: tuple[Array, ...]
    which: tuple[int, ...]
    first: int = 0

    def judged(self) -> Iterator[tuple[int, int]]:
        """The rows of the result, and for each of them which of `rows` it is of."""
        for place, i in enumerate(self.which):
            if i >= self.first:
                yield place, i - self.first


def _along(array: Array, axis: int) -> Array:
    """Rows along the last axis, in columns, or along the middle one of three, each twice."""
    if axis == 0:
        return np.ascontiguousarray(array.T)
    if axis == 1:
        return np.ascontiguousarray(np.stack([array.T, np.roll(array, -1, axis=0).T]))
    return array


def _call(
    trial: Trial, width: Width, x: Float64Array, grad: Float64Array | None = None,
    targets: Sequence[int] | None = None,
) -> _Call:  # fmt: skip
    """The operation on the rows of `x` (for softmax_backward of y and `grad`) along an axis."""
    axis, order = width.axis, tuple(range(len(x)))
    which = (*order, *order[1:], 0) if axis == 1 else order
    given = trial.array(x)
    if grad is not None:
        arrays = trial.array(grad), given
        step = Step("softmax_backward", tuple(_along(a, axis) for a in arrays), axis)
        return _Call(step, tuple(map(to_float64, arrays)), which)
    if trial.operation == "cross_entropy":
        chosen = np.zeros(len(x), np.int64) if targets is None else np.array(targets)
        step = trial.step(given, targets=chosen)
        return _Call(step, (to_float64(given), chosen), which)
    return _Call(trial.step(_along(given, axis), axis), (to_float64(given),), which)


def _ordinary(trial: Trial, width: Width, x: Float64Array) -> _Call:
    if trial.operation != "softmax_backward":
        return _call(trial, width, x)
    grad = trial.rng(x.shape[1], 8).normal(size=x.shape)
    return _call(trial, width, to_float64(softmax_like(trial.array(x), -1, trial.fmt)), grad)


def _parts(
    trial: Trial, call: _Call, arrays: Sequence[Float64Array]
) -> Iterator[tuple[int, Errors]]:
    """The errors of each row of each result, where they can be told."""
    operation, x = call.step.operation, call.rows[0]
    exacts = reference(trial.fmt, operation, *call.rows)
    for place, i in call.judged():
        one, own = slice(place, place + 1), slice(i, i + 1)
        if operation == "softmax_backward":
            y = call.rows[1]
            yield place, _of_products(trial, x[i], y[i], arrays[0][place], exacts[0][i])
        elif operation == "softmax":
            yield place, _of_probabilities(trial, x[i], arrays[0][place], exacts[0][i])
        elif operation == "log_softmax":
            yield place, _of_logarithms(trial, x[i], arrays[0][place], exacts[0][i])
        else:
            yield place, _of_logarithms(trial, x[i], arrays[0][one], exacts[0][own])
        if operation == "cross_entropy":  # its target is the first class, whose p - 1 cancels
            yield place, _of_probabilities(trial, x[i], arrays[1][place], exacts[1][i], first=1)


def _told(
    trial: Trial, step: Step, row: int, text: str, off: float, allowed: float,
    grade: Grade = "failure", *, judge: Callable[[Trial, Step, Result], Observation],
) -> Observation:  # fmt: skip
    """`text` with the error, which is relative or in a logarithm, and what is allowed, in u."""
    u = trial.fmt.unit_roundoff
    text += f" {off:.2g} ({off / u:.3g} u, {allowed / u:.3g} u allowed) {trial.where(step)}"
    call = trial.call_of(step, partial(judge, trial), place=(row,))
    return Observation(grade, "inaccurate", text, trial.given(step, row), call=call)


def _verdict(trial: Trial, step: Step, row: int, errors: Errors) -> Observation:
    if 1 != len(errors.error) < _FEWEST:  # too few can tell what they share
        return Observation("pass", "accurate")
    common, doubt = errors.common()
    excess = errors.excess()
    place = int(np.argmax(excess))
    if np.isfinite(common) and not excess[place] <= 1.0:
        off = abs(float(errors.error[place]) - common)
        text = "elements of a row differ from the error that it shares by up to"
        allowed = float(errors.own[place]) + doubt
        return _told(trial, step, row, text, off, allowed, judge=_ordinary_call)
    allowed = errors.least + doubt
    if not abs(common) <= allowed:
        allowed += errors.order()
    if not abs(common) <= allowed:
        # n u may still allow it: what is declared is judged by its bound, and this is told.
        declared = trial.arithmetic.bound != "generic" and np.isfinite(common)
        grade: Grade = "finding" if declared else "failure"
        text = "a row is off as a whole, by more than any usual order of its sum explains:"
        return _told(trial, step, row, text, abs(common), allowed, grade, judge=_ordinary_call)
    return Observation("pass", "accurate")


def _lost(trial: Trial, call: _Call, arrays: Sequence[Float64Array]) -> Iterator[Observation]:
    """Rows that are NaN, or have one value where they should have many: whatever their size."""
    if arrays[-1].ndim < 2:
        return
    for place, i in call.judged():
        got = arrays[-1][place]
        if np.isnan(got).any() or (np.all(got == got[0]) and np.ptp(call.rows[0][i]) > 0):
            column = int(np.argmax(np.isnan(got)))
            value = float(got[column])
            kind = kind_of(value, "inaccurate")
            which = f"its element {column} is" if np.isnan(value) else "all its elements are"
            text = f"a row is lost: {which} {value:.9g}"
            right = reference(trial.fmt, call.step.operation, *call.rows)[-1].hi[i, column]
            yield trial.shown(
                call.step, text, kind, trial.given(call.step, place), value, right,
                grade="failure",
            )  # fmt: skip


def _as_given(step: Step) -> _Call:
    """Any call, every row of which is judged."""
    rows = [r if r.dtype.kind in "iu" else to_float64(r) for r in step_rows(step)]
    return _Call(step, tuple(rows), tuple(range(len(rows[0]))))


def _ordinary_call(trial: Trial, step: Step, result: Result) -> Observation:
    """The judgement of `ordinary` on one call like its own."""
    broken = trial.contract(step, result)
    if step.operation == "cross_entropy" and step.arrays[1].any():  # which is not like them
        return Observation("pass", "accurate")
    return broken or worst([*_judged(trial, _as_given(step), result)])


def _judged(trial: Trial, call: _Call, result: Result) -> Iterator[Observation]:
    arrays = [to_float64(result_rows(a, call.step)) for a in result.arrays]
    lost = list(_lost(trial, call, arrays))
    yield from lost
    if not lost:
        for row, errors in _parts(trial, call, arrays):
            yield _verdict(trial, call.step, row, errors)


def _in_time(
    trial: Trial, wanted: Sequence[Width], judge: Callable[[Trial, Width], Iterator[Observation]],
    patience: float = 1.0,
) -> Iterator[Observation]:  # fmt: skip
    chosen = trial.chosen(wanted, 4)
    return trial.in_time(chosen, partial(judge, trial), "wide class counts", patience)


def ordinary(trial: Trial) -> Iterator[Observation]:
    """What a row shares against sums in real orders; what is left against no n at all."""
    return _in_time(trial, widths(trial), _ordinary_at)


def _ordinary_at(trial: Trial, width: Width) -> Iterator[Observation]:
    call = _ordinary(trial, width, _rows(trial, width.classes))
    return _judged(trial, call, trial.sound(call.step))


def named(trial: Trial) -> Iterator[Observation]:
    """The class counts that people have: an ordinary row, behind a batch, one or no row of equals.

    The least of them ends a batch, the greatest are alone: a million elements are enough a call.
    """
    wanted = [Width(n) for n in NAMED_COUNTS]
    if trial.operation != "cross_entropy":
        # The least costs little, and is asked however slow it is.
        wanted = [Width(_LEAST_WIDE, 0), *wanted, Width((1 << 19) + 1, 0)]
    return _in_time(trial, wanted, _named_at, patience=4.0)


def _named_at(trial: Trial, width: Width) -> Iterator[Observation]:
    n = width.classes
    before = _BATCH if n == NAMED_COUNTS[0] else int(n < _FEW_ORDERS)
    x = np.full((1 + before, n), 0.5)
    x[-1] = np.clip(trial.rng(n, 9).normal(size=n), -4.0, 4.0)
    x[-1, 0] = 4.5
    call = _ordinary(trial, width, x)
    call = replace(call, rows=tuple(a[before:] for a in call.rows), first=before)
    return _judged(trial, call, trial.sound(call.step))


def _equal(trial: Trial, n: int) -> tuple[Float64Array, list[int]]:
    """Rows of k zeros among -inf or logits that vanish beside them: their sum is exact.

    All that may be; the last third behind what vanishes; some anywhere; some beside the ends of
    tiles; the last and the first thousandth, so that whole tiles before or behind are masked.
    """
    most = min(n, 1 << trial.arithmetic.internal(trial.fmt).precision)
    x = np.full((6, n), -np.inf)
    x[1:4:2] = -9000.0
    x[0, :most] = 0.0
    x[1, n - max(most // 3, 1) :] = 0.0
    some = max(1 << (most.bit_length() - 2), 1)
    x[2, trial.rng(n, 5).choice(n, some, replace=False)] = 0.0
    edges = {0, n - 1, *np.linspace(0, n - 1, 5).astype(int).tolist()}
    for tile in (*_BLOCKS, *(1 << bits for bits in range(13, 21))):
        edges |= {p for p in (tile - 1, tile, n - n % tile - 1, n - n % tile) if 0 <= p < n}
    x[3, sorted(edges)] = 0.0
    few = max(min(n // 1000, most), 1)
    x[4, n - few :] = 0.0
    x[5, :few] = 0.0
    return x, [int(k) for k in (x == 0.0).sum(axis=1)]


def exact_sums(trial: Trial) -> Iterator[Observation]:
    """k equal logits and the rest nothing: 1/k, ln k, whatever the order and the width."""
    return _in_time(trial, widths(trial), _exact_sums_at)


def _exact_sums_at(trial: Trial, width: Width) -> Iterator[Observation]:
    x, counts = _equal(trial, width.classes)
    zero = x == 0.0
    grad, last = None, width.classes - 1 - zero[:, ::-1].argmax(axis=1)
    if trial.operation == "softmax_backward":
        size = np.array([2.0 ** -k.bit_length() for k in counts])
        x, grad = np.where(zero, size[:, None], 0.0), np.ones(x.shape)
    call = _call(trial, width, x, grad, last.tolist())
    return _equals(trial, call, trial.sound(call.step), zero, counts)


def _equals(
    trial: Trial, call: _Call, result: Result, zero: NDArray[np.bool_], counts: Sequence[int]
) -> Iterator[Observation]:
    got = to_float64(result_rows(result.arrays[0], call.step))
    for place, i in enumerate(call.which):
        values = got[place][zero[i]] if got.ndim == 2 else got[place : place + 1]
        off, room = _off_exact(trial, counts[i], values)
        if off <= room:
            yield Observation("pass", "accurate")
        else:
            text = f"{counts[i]} equal logits, whose sum is exact in every order, are off by"
            yield _told(trial, call.step, place, text, off, room, judge=_equal_call)


def _equal_call(trial: Trial, step: Step, result: Result) -> Observation:
    """The judgement of `exact_sums` on one call like its own."""
    broken = trial.contract(step, result)
    call = _as_given(step)
    zero = call.rows[0] == 0.0
    exact = bool(np.all(zero | (call.rows[0] <= -1e3)) and zero.any(axis=1).all())
    if broken is None and (not exact or step.operation == "softmax_backward"):
        return Observation("pass", "accurate")
    counts = [int(k) for k in zero.sum(axis=1)]
    return broken or worst([*_equals(trial, call, result, zero, counts)])


def _off_exact(trial: Trial, k: int, values: Float64Array) -> tuple[float, float]:
    """How far the results of k equal logits are off, and may be; relative, or in a logarithm."""
    _, u, e, out = trial.roundings
    log = float(np.log(k))
    if trial.operation == "softmax_backward":
        y = 2.0 ** -k.bit_length()
        off = float(np.max(np.abs(values - y * (1.0 - k * y)))) / y
        return off, (1.0 + k * y) * (4.0 * u + out) + trial.fmt.smallest_subnormal / y
    if trial.operation == "softmax":
        room = (2 * e + 2 * log + 4.0) * u + 2 * out + trial.fmt.smallest_subnormal * k
        return float(np.max(np.abs(values * k - 1.0))), room
    off = float(np.max(np.abs(np.abs(values) - log)))
    return off, ((2.0 + e) * log + 4.0) * u + 2 * log * out


_SHARED = ("overflow", "underflow", "flushes", "offset", "log-of-p", "saturation")
CASES = (
    Case("wide-exact-sums", None, "equal logits in wide rows, whose sum is exact in every order",
         exact_sums, OPERATIONS, FLOATS, deviations=_SHARED),
    Case("wide-rows", None, "ordinary wide rows: the error that a row shares, and what is left",
         ordinary, OPERATIONS, FLOATS, deviations=_SHARED),
    Case("wide-named", None, "every class count that has a name, up to a million", named,
         OPERATIONS, FLOATS, deviations=(*_SHARED, "float16-sum", "stalled-sum")),
)  # fmt: skip
