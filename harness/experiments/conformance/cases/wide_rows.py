"""Wide rows, judged by limits that do not grow with the number of classes.

The bound of a sum of n terms allows n u: at 32,000 classes in float32 that is 0.2%, and judges
nothing. So the error of a row is taken apart. What all its elements share is the error of the
row's sum (and of its reciprocal or logarithm); what is left belongs to each element alone, to its
exponential and its roundings. Neither need grow with n: real orders of summation lose tens of u at
10^5 classes, which sums of the same exponentials in those orders show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case import FLOATS, OPERATIONS, Case
from harness.experiments.conformance.case_run import Trial, softmax_like
from harness.experiments.conformance.expected import result_rows
from harness.experiments.conformance.observation import Grade, Observation, worst
from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array, FloatFormat, scale_by_power, to_float64
from harness.reference.memo import MEMO, certified, content_key

WIDTHS = (
    32_000, 8193, 131_072, 49_152, 4097, 50_257, 16_384, 65_537, 128_256, 262_147, 1 << 20,
    12_288, 24_577, 65_535, 199_999, 393_216, 524_287, 786_433, 1_000_003,
)  # fmt: skip
"""Vocabularies, powers of two and their neighbours, three times powers of two, primes."""
_AT_LEAST = 4
"""So many of them are asked of every operation: one of each kind, an odd one among them."""
_FEWEST = 64
"""Elements in the normal range from which the error that a row shares is estimated."""
_BLOCKS = (128, 256, 512, 1024, 2048, 4096)
_LANES = (4, 8, 16, 32)
_GROUP = 512
"""Classes that hold most of a peaked row: float16 has no normal number for one in 32,000."""


def _running(terms: Float64Array, fmt: FloatFormat) -> Float64Array:
    """Sums along the last axis, term after term, each rounded to `fmt`."""
    with np.errstate(over="ignore", invalid="ignore"):
        cumulated = np.add.accumulate(terms.astype(fmt.dtype), axis=-1)
    return to_float64(cumulated[..., -1])


def _orders(terms: Float64Array, fmt: FloatFormat) -> Iterator[Float64Array]:
    """Sums of a row in the orders of real kernels: sequential, lanes, blocks, pairwise."""
    yield _running(terms, fmt)
    yield _running(terms[::-1], fmt)
    for width in (*_LANES, *_BLOCKS):
        whole = np.pad(terms, (0, -len(terms) % width)).reshape(-1, width)
        yield _running(_running(whole.T, fmt), fmt)  # strided lanes
        yield _running(_running(whole, fmt), fmt)  # blocks
    while len(terms) > 1:  # by halves
        padded = np.pad(terms, (0, len(terms) % 2)).reshape(-1, 2)
        terms = _running(padded, fmt)
    yield terms[0]


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


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of one row, in a unit in which its elements share what the row gets wrong.

    Attributes:
        error: signed; relative for probabilities, absolute for logarithms, over y for gradients.
        own: what each element may be off by itself.
        shared: what all of them may be off together.
    """

    error: Float64Array
    own: Float64Array
    shared: float

    def common(self) -> tuple[float, float]:
        """What the elements share, from those that can tell it best, and how well they can."""
        best = self.own <= np.quantile(self.own, 0.25)
        return float(np.median(self.error[best])), float(self.own[best].max())

    def excess(self) -> Float64Array:
        """How far each element is off beside what the row shares, over what it may be."""
        common, doubt = self.common()
        with np.errstate(invalid="ignore"):
            off = np.abs(self.error - common) / (self.own + doubt)
        return np.nan_to_num(off, nan=np.inf)


def _difference(got: Float64Array, exact: Exact) -> tuple[Float64Array, Float64Array]:
    """(got - exact, exact) in float64; the difference is right to its own last digits."""
    hi, lo = (scale_by_power(part, exact.exponent) for part in (exact.hi, exact.lo))
    return (got - hi) - lo, hi


def _of_probabilities(
    trial: Trial, x: Float64Array, got: Float64Array, exact: Exact, first: int = 0
) -> Errors:
    inside = trial.arithmetic.internal(trial.fmt)
    u, e = inside.unit_roundoff, trial.arithmetic.exp_error
    rounding = trial.fmt.unit_roundoff if inside != trial.fmt else 0.0
    difference, p = _difference(got, exact)
    normal = (p >= trial.fmt.smallest_normal) & (np.arange(len(p)) >= first)
    gap = x.max() - x
    terms = np.exp(-gap)
    log_sum = float(np.log(terms.sum()))
    shift = 2.0 * (abs(float(x.max())) + log_sum) + float(np.sum(terms * gap) / terms.sum())
    return Errors(
        (difference[normal] / p[normal]),
        (e + gap[normal] + log_sum + 4.0) * u + rounding,
        (4.0 * _control(terms, inside) + 2 * e + shift + 8.0) * u + rounding,
    )


def _of_logarithms(trial: Trial, x: Float64Array, got: Float64Array, exact: Exact) -> Errors:
    """Of log_softmax (a row), log-sum-exp or a loss (one number)."""
    inside = trial.arithmetic.internal(trial.fmt)
    u, e = inside.unit_roundoff, trial.arithmetic.exp_error
    difference, value = _difference(got, exact)
    terms = np.exp(x - x.max())
    log_sum = float(np.log(terms.sum()))
    own = (2.0 * np.abs(value) + x.max() - x.min() + log_sum + 2.0) * u
    own += np.abs(value) * trial.fmt.unit_roundoff
    shift = 2.0 * (abs(float(x.max())) + (1.0 + e) * log_sum) + float(np.ptp(x))
    shared = (4.0 * _control(terms, inside) + 2 * e + shift + 8.0) * u
    return Errors(difference, own, shared)


def _of_products(
    trial: Trial, grad: Float64Array, y: Float64Array, got: Float64Array, exact: Exact
) -> Errors:
    """Of softmax_backward, y (g - Σ g y): over y, all elements share the error of the sum."""
    inside = trial.arithmetic.internal(trial.fmt)
    u = inside.unit_roundoff
    out = trial.fmt.unit_roundoff if inside != trial.fmt else 0.0
    difference, value = _difference(got, exact)
    # Where the result is normal: below, its rounding has nothing to do with its size.
    normal = (y >= trial.fmt.smallest_normal) & (np.abs(value) >= trial.fmt.smallest_normal)
    terms = grad * y
    total = float(np.abs(terms).sum())
    own = 2.0 * (np.abs(grad) + abs(float(terms.sum()))) * u
    own += np.abs(np.divide(value, y, out=np.zeros_like(y), where=y > 0)) * out
    shared = (4.0 * _control(terms, inside) + 8.0) * total * u
    return Errors(difference[normal] / y[normal], own[normal], shared)


def _rows(trial: Trial, n: int) -> Float64Array:
    """An ordinary row and a peaked one. The largest logit is the first: nothing is rescaled."""
    rng = trial.rng(n, 6)
    x = np.clip(rng.normal(size=(2, n)), -4.0, 4.0)
    x[1] -= np.log(n / _GROUP) + 3.0
    x[1, rng.choice(n, _GROUP, replace=False)] = np.clip(rng.normal(size=_GROUP), -3.0, 3.0)
    x[:, 0] = 4.5
    return x


def _parts(
    trial: Trial, step: Step, arrays: Sequence[Float64Array]
) -> Iterator[tuple[int, Errors]]:
    """The errors of each row of each result of `step`, where they can be told."""
    operation = step.operation
    if operation == "softmax_backward":
        grad, y = (np.atleast_2d(to_float64(a)) for a in step.arrays)
        (exact,) = certified(operation, grad, y)
        for i in range(len(y)):
            yield i, _of_products(trial, grad[i], y[i], arrays[0][i], exact[i])
        return
    x = np.atleast_2d(to_float64(step.arrays[0]))
    extra = (step.arrays[1],) if operation == "cross_entropy" else ()
    exacts = certified(operation, x, *extra)
    for i in range(len(x)):
        if operation == "softmax":
            yield i, _of_probabilities(trial, x[i], arrays[0][i], exacts[0][i])
        elif operation == "log_softmax":
            yield i, _of_logarithms(trial, x[i], arrays[0][i], exacts[0][i])
        else:
            one = slice(i, i + 1)
            yield i, _of_logarithms(trial, x[i], arrays[0][one], exacts[0][one])
        if operation == "cross_entropy":  # its target is the first class, whose p - 1 cancels
            yield i, _of_probabilities(trial, x[i], arrays[1][i], exacts[1][i], first=1)


def _step(trial: Trial, x: Float64Array) -> Step:
    logits = trial.array(x)
    if trial.operation == "cross_entropy":
        return trial.step(logits, targets=np.zeros(len(x), np.int64))
    if trial.operation == "softmax_backward":
        grad = trial.array(trial.rng(x.shape[1], 8).normal(size=x.shape))
        return Step("softmax_backward", (grad, softmax_like(logits, -1, trial.fmt)), -1)
    return trial.step(logits)


def _told(
    trial: Trial, step: Step, row: int, text: str, off: float, allowed: float,
    grade: Grade = "failure", *, judge: Callable[[Trial, Step, Result], Observation],
) -> Observation:  # fmt: skip
    """`text` with the error, which is relative or in a logarithm, and what is allowed, in u."""
    u = trial.fmt.unit_roundoff
    text += f" {off:.2g} ({off / u:.3g} u, {allowed / u:.3g} u allowed) {trial.where(step)}"
    evidence = trial.evidence(step, partial(judge, trial), place=(row,))
    return Observation(grade, "inaccurate", text, trial.given(step, row), evidence=evidence)


def _verdict(trial: Trial, step: Step, row: int, errors: Errors) -> Observation:
    if len(errors.error) < _FEWEST and step.operation in ("softmax", "softmax_backward"):
        return Observation("pass", "accurate")
    common, doubt = errors.common()
    excess = errors.excess()
    place = int(np.argmax(excess))
    if np.isfinite(common) and not excess[place] <= 1.0:
        off = abs(float(errors.error[place]) - common)
        text = "elements of a row differ from the error that it shares by up to"
        allowed = float(errors.own[place]) + doubt
        return _told(trial, step, row, text, off, allowed, judge=_ordinary_call)
    allowed = errors.shared + doubt
    if not abs(common) <= allowed:
        # n u may still allow it: what is declared is judged by its bound, and this is told.
        declared = trial.arithmetic.bound != "generic" and np.isfinite(common)
        grade: Grade = "finding" if declared else "failure"
        text = "a row is off as a whole, by more than any usual order of its sum explains:"
        return _told(trial, step, row, text, abs(common), allowed, grade, judge=_ordinary_call)
    return Observation("pass", "accurate")


def _widths(trial: Trial) -> Iterator[int]:
    """The widths, as many as there is time for."""
    started = time.perf_counter()
    every = trial.thorough and trial.operation == "softmax"
    for n in WIDTHS if every else WIDTHS[:_AT_LEAST]:
        yield n
        if time.perf_counter() - started > trial.budget_s:
            return


def ordinary(trial: Trial) -> Iterator[Observation]:
    """What a row shares against sums in real orders; what is left against no n at all."""
    for n in _widths(trial):
        step = _step(trial, _rows(trial, n))
        yield from _ordinary(trial, step, trial.sound(step))


def _ordinary(trial: Trial, step: Step, result: Result) -> Iterator[Observation]:
    arrays = [to_float64(result_rows(a, step)) for a in result.arrays]
    for row, errors in _parts(trial, step, arrays):
        yield _verdict(trial, step, row, errors)


def _ordinary_call(trial: Trial, step: Step, result: Result) -> Observation:
    """The judgement of `ordinary` on one call like its own."""
    broken = trial.contract(step, result, "failure", "")
    return broken or worst(list(_ordinary(trial, step, result)))


def _equal(trial: Trial, n: int) -> Float64Array:
    """Rows of k zeros among -inf or logits that vanish beside them: their sum is exact."""
    most = min(n, 1 << trial.arithmetic.internal(trial.fmt).precision)
    counts = [most, max(most // 3, 1), max(1 << (most.bit_length() - 2), 1), 5]
    x = np.full((4, n), -np.inf)
    x[1::2] = -9000.0
    x[0, : counts[0]] = 0.0
    x[1, n - counts[1] :] = 0.0
    x[2, trial.rng(n, 5).choice(n, counts[2], replace=False)] = 0.0
    x[3, np.linspace(0, n - 1, 5).astype(int)] = 0.0
    return x


def exact_sums(trial: Trial) -> Iterator[Observation]:
    """k equal logits and the rest nothing: 1/k, ln k, whatever the order and the width."""
    for n in _widths(trial):
        x = _equal(trial, n)
        zero = x == 0.0
        targets = zero.argmax(axis=1) if trial.operation == "cross_entropy" else None
        step = trial.step(trial.array(x), targets=targets)
        yield from _equal_logits(trial, step, trial.sound(step))


def _equal_logits(trial: Trial, step: Step, result: Result) -> Iterator[Observation]:
    inside = trial.arithmetic.internal(trial.fmt)
    u, e = inside.unit_roundoff, trial.arithmetic.exp_error
    out = trial.fmt.unit_roundoff if inside != trial.fmt else 0.0
    zero = np.atleast_2d(to_float64(step.arrays[0])) == 0.0
    got = to_float64(result_rows(result.arrays[0], step))
    for row, k in enumerate(int(c) for c in zero.sum(axis=1)):
        log = float(np.log(k))
        values = np.atleast_1d(got[row][zero[row]] if got.ndim == 2 else got[row])
        if trial.operation == "softmax":
            off = float(np.max(np.abs(values * k - 1.0)))
            room = (2 * e + 2 * log + 4.0) * u + 2 * out + trial.fmt.smallest_subnormal * k
        else:
            off = float(np.max(np.abs(np.abs(values) - log)))
            room = ((2.0 + e) * log + 4.0) * u + 2 * log * out
        if off <= room:
            yield Observation("pass", "accurate")
        else:
            text = f"{k} equal logits, whose sum is exact in every order, are off by"
            yield _told(trial, step, row, text, off, room, judge=_equal_call)


def _equal_call(trial: Trial, step: Step, result: Result) -> Observation:
    """The judgement of `exact_sums` on one call like its own."""
    broken = trial.contract(step, result, "failure", "")
    logits = np.atleast_2d(to_float64(step.arrays[0]))
    sums_are_exact = np.all((logits == 0.0) | (logits <= -1e3)) and np.all((logits == 0).any(1))
    if broken is None and not sums_are_exact:
        return Observation("pass", "accurate")
    return broken or worst(list(_equal_logits(trial, step, result)))


_SHARED = ("overflow", "underflow", "flushes", "offset", "log-of-p", "saturation")
CASES = (
    Case("wide-exact-sums", None, "equal logits in wide rows, whose sum is exact in every order",
         exact_sums, ("softmax", "log_softmax", "logsumexp", "cross_entropy"), FLOATS,
         deviations=_SHARED),
    Case("wide-rows", None, "ordinary wide rows: the error that a row shares, and what is left",
         ordinary, OPERATIONS, FLOATS, deviations=_SHARED),
)  # fmt: skip
