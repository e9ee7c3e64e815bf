"""Error measures: how far a computed array is from the exact, unrounded result.

It summarises one cell; the elementwise errors come from `ulps` and can be imported from here too.
Everything is measured against an `Exact` pair of about 100 bits, never against another
implementation or a rounded reference. What a row *is* (nan, zero, wrong, ...) is in `outcomes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from harness.numerics.divergence import kl_divergence, total_variation
from harness.numerics.exact import Exact
from harness.numerics.formats import (
    Float64Array,
    FloatFormat,
    float_format,
    scale_by_power,
    to_float64,
    to_hex,
)
from harness.numerics.ulps import LARGEST, signed_ulp_error, ulp_error, wrong_threshold

__all__ = [
    "DISTRIBUTIONS",
    "HISTOGRAM_KEYS",
    "ORDERED",
    "AccuracySummary",
    "WorstElement",
    "signed_ulp_error",
    "sum_residual",
    "summarise",
    "ulp_error",
    "wrong_order",
    "wrong_threshold",
]

HISTOGRAM_KEYS = ("0", "<=0.5", "<=1", "<=2", "<=4", ">4", "wrong")
"""Exclusive classes of the ulp error, in order; see `AccuracySummary.histogram`."""

_EDGES = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
_MANY = 1 << 9
"""Numbers from which it pays to make fewer of them before they are summed one after the other."""
DISTRIBUTIONS = frozenset({"softmax"})
"""Operations whose rows are probabilities: they sum to one."""
ORDERED = frozenset({"softmax", "log_softmax"})
"""Operations that keep the order of the logits."""


@dataclass(frozen=True)
class WorstElement:
    """Where the largest ulp error is (the first of equals).

    Attributes:
        row, column: its index in the (rows, classes) layout.
        computed: the computed value, hexadecimal.
        expected: the exact value rounded once to the format, hexadecimal.
        expected_float64: the exact value rounded once to float64, hexadecimal.
        logit: the input at that place, hexadecimal; None where the logits were not given.
    """

    row: int
    column: int
    computed: str
    expected: str
    expected_float64: str
    logit: str | None


@dataclass(frozen=True)
class AccuracySummary:
    """The errors of one computed array against the exact result.

    None stands for a number that has no meaning here (no element qualifies, or the operation
    gives no probabilities). Infinity stands for a non-finite value where a finite one was due.

    Attributes:
        elements: number of elements compared.
        max_ulp, p50_ulp, p99_ulp, p999_ulp: largest ulp error, and the quantiles of the ulp
            error as observed values (the smallest error that at least that share of the
            elements does not exceed), in ulp of the format at the exact value.
        bias_ulp: signed mean error in ulp, over the elements that are not wrong.
        correctly_rounded: fraction of the elements equal to the exact value rounded to nearest
            even (NaN equals NaN), 0 to 1.
        histogram: elements per class of the ulp error e, exclusive: "0" (computed is the exact
            value), "<=0.5" (0 < e <= 0.5), "<=1", "<=2", "<=4", ">4", and "wrong": e is infinite
            (a non-finite value where another was due, or the reverse) or at least 2**(p-1) ulp,
            so that no bit is right.
        max_relative: largest abs(computed - exact) / abs(exact), over the elements whose exact
            value is normal in the format; below, the ulp error is the meaningful one.
        normwise_relative: largest over the rows of max abs(computed - exact) / max abs(exact).
        max_absolute: largest abs(computed - exact), in units of the result.
        sum_residual: largest over the rows of abs(sum(computed) - 1), summed without rounding;
            None unless the operation gives probabilities. Rows with a non-finite value are left
            out. *Blind to errors of exp*, which stand in numerator and denominator alike: it
            shows stalled accumulators, and must never stand for accuracy.
        kl_divergence: largest over the rows of sum(q ln(q/p) - q + p), in nats, q computed and p
            exact: the Kullback-Leibler divergence where q sums to one, and never negative
            otherwise. This direction stays finite where q has underflowed to zero.
        total_variation: largest over the rows of sum(abs(q - p)) / 2.
        flushed_count: elements computed as 0 whose correctly rounded value is not 0.
        flushed_mass: largest over the rows of the sum of abs(exact) at those elements.
        wrong_argmax: rows in which no exact maximum is among the computed maxima.
        wrong_order: pairs adjacent in the sorted logits of a row in which the strictly larger
            logit has the strictly smaller result; None without logits.
        nonfinite: elements computed as NaN or infinite where the correctly rounded one is finite.
        worst: the element with the largest ulp error.
    """

    elements: int
    max_ulp: float
    p50_ulp: float
    p99_ulp: float
    p999_ulp: float
    bias_ulp: float | None
    correctly_rounded: float
    histogram: Mapping[str, int]
    max_relative: float | None
    normwise_relative: float | None
    max_absolute: float
    sum_residual: float | None
    kl_divergence: float | None
    total_variation: float | None
    flushed_count: int
    flushed_mass: float
    wrong_argmax: int | None
    wrong_order: int | None
    nonfinite: int
    worst: WorstElement


def summarise(
    computed: ArrayLike,
    exact: Exact,
    fmt: DTypeLike | FloatFormat | None = None,
    *,
    logits: ArrayLike | None = None,
    operation: str = "softmax",
    signed: Float64Array | None = None,
) -> AccuracySummary:
    """Every error measure of one computed array; rows first, classes on the last axis.

    Args:
        computed: (rows, classes), or (classes,) for one row, of any format.
        exact: the exact values, of the same shape.
        fmt: the format judged; by default that of `computed`.
        logits: the input, of the same shape, for `wrong_order` and the worst element.
        operation: decides which measures apply: `sum_residual` and the divergences for
            `DISTRIBUTIONS`, the order for `ORDERED`.
        signed: `signed_ulp_error(computed, exact, fmt)`, where it is known already.

    Raises:
        ValueError: for unequal shapes, no elements or more than two dimensions.
    """
    array = np.asarray(computed)
    if array.size == 0 or array.ndim not in (1, 2):
        raise ValueError(
            f"computed: expected (rows, classes) with at least one element, got {array.shape}"
        )
    if array.shape != exact.shape:
        raise ValueError(f"computed: expected the shape {exact.shape} of exact, got {array.shape}")
    if logits is not None and np.shape(logits) != array.shape:
        raise ValueError(f"logits: expected the shape {array.shape}, got {np.shape(logits)}")
    fmt = float_format(array.dtype if fmt is None else fmt)
    shape = (1, array.size) if array.ndim == 1 else array.shape
    array, exact = array.reshape(shape), exact.reshape(*shape)
    x = None if logits is None else to_float64(np.asarray(logits)).reshape(shape)
    c = to_float64(array)
    rounded = exact.round_to(fmt)
    expected = to_float64(rounded)
    signed = signed_ulp_error(array, exact, fmt) if signed is None else signed.reshape(shape)
    error = np.abs(signed)
    wrong = error >= wrong_threshold(fmt)
    # In units of the result: the quantum of float64 subnormals is the resolution.
    q, in_ulp, _ = exact.in_ulps(fmt)
    absolute = np.minimum(scale_by_power(error, q), np.where(np.isinf(error), np.inf, LARGEST))
    magnitude = np.abs(exact.to_float64())
    flushed = (c == 0) & (expected != 0) & ~np.isnan(expected)
    distribution = operation in DISTRIBUTIONS
    quantiles = np.quantile(error, [0.5, 0.99, 0.999], method="inverted_cdf")
    return AccuracySummary(
        elements=array.size,
        max_ulp=float(error.max()),
        p50_ulp=float(quantiles[0]),
        p99_ulp=float(quantiles[1]),
        p999_ulp=float(quantiles[2]),
        bias_ulp=None if wrong.all() else _mean(signed[~wrong]),
        correctly_rounded=float(
            np.mean((c == expected) | (np.isnan(c) & np.isnan(expected)), dtype=np.float64)
        ),
        histogram=_histogram(error, wrong),
        max_relative=_max_relative(error, in_ulp, magnitude, fmt),
        normwise_relative=_normwise_relative(absolute, magnitude),
        max_absolute=float(absolute.max()),
        sum_residual=sum_residual(c) if distribution else None,
        kl_divergence=_largest(kl_divergence(c, exact)) if distribution else None,
        total_variation=_largest(total_variation(c, exact, absolute)) if distribution else None,
        flushed_count=int(np.count_nonzero(flushed)),
        flushed_mass=float(np.where(flushed, magnitude, 0.0).sum(axis=1).max()),
        wrong_argmax=_wrong_argmax(c, exact) if operation in ORDERED else None,
        wrong_order=None
        if x is None or operation not in ORDERED
        else _inversions(c, x, *exact.once("order", lambda: _rises(x))),
        nonfinite=int(np.count_nonzero(~np.isfinite(c) & np.isfinite(expected))),
        worst=_worst(error, array, rounded, exact, x),
    )


def _largest(values: Float64Array) -> float | None:
    return float(values.max()) if values.size else None


def _histogram(error: Float64Array, wrong: NDArray[np.bool_]) -> dict[str, int]:
    place = np.searchsorted(_EDGES, error.ravel(), side="left")
    place[wrong.ravel()] = len(_EDGES) + 1
    counts = np.bincount(place, minlength=len(HISTOGRAM_KEYS))
    return {key: int(count) for key, count in zip(HISTOGRAM_KEYS, counts, strict=True)}


def _max_relative(
    error: Float64Array, in_ulp: Float64Array, magnitude: Float64Array, fmt: FloatFormat
) -> float | None:
    normal = (magnitude >= fmt.smallest_normal) & np.isfinite(magnitude)
    if not normal.any():
        return None
    return float(np.max(np.divide(error, np.abs(in_ulp), out=np.zeros_like(error), where=normal)))


def _normwise_relative(absolute: Float64Array, magnitude: Float64Array) -> float | None:
    size = magnitude.max(axis=1)
    rows = np.isfinite(size) & (size > 0)
    if not rows.any():
        return None
    with np.errstate(over="ignore"):
        return float(np.max(absolute[rows].max(axis=1) / size[rows]))


def sum_residual(probabilities: ArrayLike) -> float | None:
    """Largest over the rows of abs(sum(row) - 1), summed without rounding (`math.fsum`).

    Blind to errors of exp; see `AccuracySummary`. Rows with a non-finite value are left out;
    None if no row is left, infinite if a value is beyond 1e200.
    """
    p = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
    p = p[np.isfinite(p).all(axis=1)]
    # fsum raises where a partial sum overflows: values near 1e308 are no probabilities anyway.
    small = (np.abs(p) <= 1e200).all(axis=1)
    if not small.all():
        return math.inf
    near = np.abs(p.sum(axis=1) - 1.0)
    off = 2.0**-51 * (p.shape[1] + 1) * (np.abs(p).sum(axis=1) + 1.0)  # at most, whatever the order
    largest = p[near + off >= np.max(near - off, initial=0.0)]
    residuals = (abs(math.fsum([*same_sum(row).tolist(), -1.0])) for row in largest)
    return max(residuals, default=None)


def _mean(values: Float64Array) -> float:
    """Of the exact sum, so that blocks of an array have the mean of the whole (`tally`)."""
    return math.fsum(same_sum(values).tolist()) / values.size


def same_sum(values: Float64Array) -> Float64Array:
    """Fewer numbers with the same sum, exactly; `values` are finite.

    Of a number, times a power of two, the upper 26 bits are summed with those of all numbers of the
    same exponent, and the lower 27 as well: both are integers, and stay below 2**53.
    """
    if not _MANY <= values.size <= 1 << 26:
        return values
    mantissa, exponent = np.frexp(values)
    upper = np.trunc(np.ldexp(mantissa, 26))
    lower = np.ldexp(np.ldexp(mantissa, 26) - upper, 27)
    least = int(exponent.min())
    powers = np.arange(least, int(exponent.max()) + 1)
    sums = (np.bincount(exponent - least, weights=part) for part in (upper, lower))
    return np.concatenate([np.ldexp(s, powers - n) for s, n in zip(sums, (26, 53), strict=True)])


def wrong_order(
    computed: ArrayLike, logits: ArrayLike, order: NDArray[np.intp] | None = None
) -> int:
    """Pairs, adjacent in a row's sorted logits, whose larger logit has the smaller result.

    Rows with a NaN in either array are left out. `(rows, classes)` both; `order` sorts the
    logits of each row, where that is known already.
    """
    c, x = np.atleast_2d(np.asarray(computed)), np.atleast_2d(np.asarray(logits))
    c, x = c.astype(np.float64), x.astype(np.float64)
    return _inversions(c, x, *_rises(x, order))


def _rises(
    x: Float64Array, order: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """What sorts each row, and where the sorted row rises."""
    order = np.argsort(x, axis=1) if order is None else order
    x = np.take_along_axis(x, order, axis=1)
    return order, x[:, 1:] > x[:, :-1]


def _inversions(
    c: Float64Array, x: Float64Array, order: NDArray[np.intp], rises: NDArray[np.bool_]
) -> int:
    c = np.take_along_axis(c, order, axis=1)
    # Comparisons with NaN are false, but a pair around it would be no neighbours: drop the row.
    rows = ~(np.isnan(c).any(axis=1) | np.isnan(x).any(axis=1))
    inverted = rises & (c[:, 1:] < c[:, :-1])
    return int(np.count_nonzero(inverted[rows]))


def _wrong_argmax(c: Float64Array, exact: Exact) -> int:
    value = exact.to_float64()
    rows = ~np.isnan(value).any(axis=1)
    if not rows.any():
        return 0
    c, value = c[rows], value[rows]
    low = scale_by_power(exact.lo, exact.exponent)[rows]
    tied = value == value.max(axis=1, keepdims=True)
    low = np.where(tied, low, -np.inf)
    tied &= low == low.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        at_maximum = np.where(tied, c, -np.inf).max(axis=1)
        return int(np.count_nonzero(~(at_maximum >= c.max(axis=1))))


def _worst(
    error: Float64Array,
    computed: NDArray[Any],
    rounded: NDArray[Any],
    exact: Exact,
    logits: Float64Array | None,
) -> WorstElement:
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))
    return WorstElement(
        row=row,
        column=column,
        computed=to_hex(computed[row, column]),
        expected=to_hex(rounded[row, column]),
        expected_float64=to_hex(exact[row, column].round_to("float64")),
        logit=None if logits is None else to_hex(logits[row, column]),
    )
