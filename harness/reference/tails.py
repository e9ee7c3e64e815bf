"""The fast filter's row statistics: maximum, its multiplicity, and the tail, in double-double.

Everything that is computed once per row. Notation (see also `balls`): m the row's maximum,
d_j = x_j - m (exact, as a pair), c the count of entries equal to m, and the tail r = sum of
exp(d_j) over the other entries. Working arrays are (rows, classes) blocks that fit in a
second-level cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.double_double import U2, Pair, power_of_two, sum_rows, two_sum
from harness.reference.elementary import EXP_BOUND, EXP_RANGE, exp

BLOCK = 8192  # elements of a working array: 64 KiB; measured, 4096 to 16384 are within 10%
SMALLEST_TAIL = 2.0**-400  # stands for a smaller tail wherever only c + r matters
LARGEST_DIFFERENCE = 2.0**1020

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Fine:
    """What no float holds of rows that are given as differences to their maximum.

    The float64 rows beside it are then 0 at the maximum, below 0 elsewhere, -inf where masked.

    Attributes:
        low: of the shape of the rows: the difference is row + low, row = fl(row + low).
        slack: absolute error of every difference, and so relative of its exponential.
        logit: (engine, row, column) to a logit, not a difference, as a ball of any precision.
    """

    low: Float64Array
    slack: float
    logit: Callable[[Any, int, int], Any]


@dataclass(frozen=True)
class Tails:
    """Row statistics; arrays of shape (rows,).

    Attributes:
        maximum: m; NaN where the row holds a NaN; infinities as they come.
        count: c, as float64.
        unmasked: the number of entries above -inf.
        hi, lo, exponent: r = (hi + lo) * 2**exponent; 0 where all unmasked entries are equal.
        outside: r is positive, but too small for the filter to know.
        bound: relative error of r (and so of c + r).
        slack: that of every exponential, for what the logits are off; it is in `bound`, too.
    """

    maximum: Float64Array
    count: Float64Array
    unmasked: IntArray
    hi: Float64Array
    lo: Float64Array
    exponent: IntArray
    outside: BoolArray
    bound: float
    slack: float = 0.0

    @property
    def ordinary(self) -> BoolArray:
        """Finite maximum: the row is neither all masked nor holds NaN or +inf."""
        finite: BoolArray = np.isfinite(self.maximum)
        return finite

    @property
    def constant(self) -> BoolArray:
        """All unmasked entries are equal."""
        constant: BoolArray = self.ordinary & (self.count == self.unmasked)
        return constant

    @property
    def tiny(self) -> BoolArray:
        """r is positive and below about `SMALLEST_TAIL`."""
        return self.outside | ((self.hi > 0) & (self.exponent < -399))

    def folded(self) -> Pair:
        """r without its exponent; where positive, at least `SMALLEST_TAIL`."""
        tiny = self.tiny
        scale = power_of_two(np.maximum(self.exponent, -399))
        hi = np.where(tiny, SMALLEST_TAIL, self.hi * scale)
        return hi, np.where(tiny, 0.0, self.lo * scale)


def tail_bound(classes: int) -> float:
    """Relative error of r: that of exp, of a pairwise sum, and of merging the blocks' sums."""
    return float(EXP_BOUND + 3 * (np.ceil(np.log2(max(classes, 2))) + 3) * U2)


def row_blocks(rows: int, classes: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(classes, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def column_blocks(classes: int) -> Iterator[slice]:
    for start in range(0, classes, BLOCK):
        yield slice(start, min(start + BLOCK, classes))


def differences(x: Float64Array, maximum: Float64Array) -> Pair:
    """x - maximum exactly, as a pair. Masked or overflowing ones come as (-inf, 0)."""
    hi, lo = two_sum(x, -maximum)
    with np.errstate(invalid="ignore"):
        huge = ~(hi >= -LARGEST_DIFFERENCE)
    if huge.any():
        hi[huge] = -np.inf
        lo[huge] = 0.0
    return hi, lo


@dataclass(frozen=True)
class Extremes:
    """What the tail of a row is set against; arrays of shape (rows,).

    Attributes:
        maximum, count, unmasked: as in `Tails`.
        second: the largest entry below the maximum; -inf where there is none.
    """

    maximum: Float64Array
    count: Float64Array
    unmasked: IntArray
    second: Float64Array

    @property
    def top(self) -> Float64Array:
        """The maximum where it is finite, else 0."""
        return np.where(np.isfinite(self.maximum), self.maximum, 0.0)

    def scale(self) -> tuple[IntArray, BoolArray, BoolArray]:
        """The exponent of the largest term of each tail, which tails are known, and which are too
        small to be."""
        ordinary = np.isfinite(self.maximum)
        hi, lo = differences(np.where(ordinary, self.second, -np.inf), self.top)
        has_tail = np.isfinite(self.second) & ordinary
        # Half the range: terms below the range are then below exp(-2**18) of the tail
        inside = hi >= -EXP_RANGE / 2
        exponent = exp(np.where(inside, hi, 0.0), np.where(inside, lo, 0.0))[2]
        return exponent, has_tail & inside, has_tail & ~inside


def extremes(x: Float64Array) -> Extremes:
    """Those of each row of `x`, float64 of shape (rows, classes), classes >= 1."""
    rows, classes = x.shape
    maximum = np.empty(rows)
    count = np.empty(rows)
    unmasked = np.empty(rows, dtype=np.int64)
    second = np.empty(rows)
    for r in row_blocks(rows, classes):
        block = x[r]
        maximum[r] = block.max(axis=1)
        top = block == maximum[r, None]
        count[r] = top.sum(axis=1)
        unmasked[r] = (block != -np.inf).sum(axis=1)
        second[r] = np.where(top, -np.inf, block).max(axis=1)
    return Extremes(maximum, count, unmasked, second)


def tail_sums(
    x: Float64Array, of: Extremes, exponent: IntArray, keep: Exact | None = None,
    fine: Fine | None = None,
) -> Pair:  # fmt: skip
    """Sums of exp(d) * 2**-exponent over the entries of each row below the maximum.

    Args:
        keep: of the shape of `x`; is filled with exp(d) of every element.
        fine: what `x` does not hold, if it is of differences.
    """
    rows, classes = x.shape
    ordinary, m = np.isfinite(of.maximum), of.top
    hi, lo = np.empty(rows), np.empty(rows)
    for r in row_blocks(rows, classes):
        sums = []
        for c in column_blocks(classes):
            kept = None if keep is None else keep[r, c]
            if fine is None:
                safe = np.where(ordinary[r, None], x[r, c], 0.0) if not ordinary[r].all() else None
                d = differences(x[r, c] if safe is None else safe, m[r, None])
            else:
                known = np.isfinite(x[r, c])
                d = np.where(np.isnan(x[r, c]), 0.0, x[r, c]), np.where(known, fine.low[r, c], 0.0)
            sums.append(_block_sums(d, exponent[r], kept))
        hi[r], lo[r] = sum_rows(
            np.stack([s[0] for s in sums], axis=1), np.stack([s[1] for s in sums], axis=1)
        )
    return hi, lo


def row_tails(x: Float64Array, keep: Exact | None = None, fine: Fine | None = None) -> Tails:
    """The statistics of each row of `x`, float64 of shape (rows, classes), classes >= 1.

    Args:
        keep: of the shape of `x`; is filled with exp(d) of every element.
        fine: what `x` does not hold, if it is of differences.
    """
    of = extremes(x)
    exponent, known, outside = of.scale()
    hi, lo = tail_sums(x, of, exponent, keep, fine)
    slack = 0.0 if fine is None else fine.slack
    return Tails(
        maximum=of.maximum,
        count=of.count,
        unmasked=of.unmasked,
        hi=np.where(known, hi, 0.0),
        lo=np.where(known, lo, 0.0),
        exponent=np.where(known, exponent, 0),
        outside=outside,
        bound=tail_bound(x.shape[1]) + slack,
        slack=slack,
    )


def _block_sums(d: Pair, reference: IntArray, keep: Exact | None) -> Pair:
    """Sums of exp(d) * 2**-reference over the entries below the maximum; fills `keep`."""
    dh, dl = d
    inside = dh >= -EXP_RANGE
    if not inside.all():
        dl = np.where(inside, dl, 0.0)
        safe = np.where(inside, dh, 0.0)
    else:
        safe = dh
    eh, el, k = exp(safe, dl)
    if keep is not None:
        keep.hi[...] = eh
        keep.lo[...] = el
        keep.exponent[...] = k
    counted = inside & (dh < 0)
    # Terms below 2**-1000 of the largest count as 2**-1000 of it: at most 2**-960 in all
    scale = power_of_two(np.clip(k - reference[:, None], -1000, 1000))
    scale *= counted
    eh *= scale
    el *= scale
    return sum_rows(eh, el)
