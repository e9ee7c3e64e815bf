"""Softmax, log-softmax, log-sum-exp on (rows, classes) blocks: fast filter, then Ziv's loop.

It holds the a-priori error bounds of the filter's results. An element that the certificate
(`certificate`) refuses goes to `balls`, so what leaves here is certain: hi + lo rounds to every
format of at most 53 bits as the true value does, and its relative error is below 2**-90.

Bounds, relative, in units of u^2 = 2**-106, for n classes (n = 10**6: below 2**-98):

- tail r and total c + r: 8 + 3*(log2(n) + 3), and 2 for the sum (`tails.tail_bound`);
- softmax: exp 8, total, reciprocal 15, product 7;
- log(c + r): 160, and the total's error divided by log(1.25) > 0.22 at worst.

Logits that no float holds (`tails.Fine`) are off by their slack, which is added.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.balls import BallRow
from harness.reference.certificate import certified, certify_triple, one_minus, sum_of_pairs
from harness.reference.double_double import (
    U2,
    Pair,
    add_double,
    divide,
    multiply,
    power_of_two,
    two_prod,
)
from harness.reference.elementary import EXP_BOUND, LOG_BOUND, log_count_plus
from harness.reference.tails import (
    SMALLEST_TAIL,
    BoolArray,
    Fine,
    IntArray,
    Tails,
    column_blocks,
    differences,
    row_blocks,
    row_tails,
)
from harness.reference.ziv import FOLDED_ABOVE, NEGLIGIBLE_DIFFERENCE, SMALLEST_EXPONENT, Settled

ElementSettler = Callable[[BallRow, int], Settled]


def empty_exact(shape: tuple[int, ...]) -> Exact:
    return Exact(np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.int32))


def softmax_bound(tails: Tails) -> float:
    """Relative error of the filter's softmax."""
    return EXP_BOUND + tails.slack + tails.bound + (2 + 15 + 7) * U2


def log_bound(tails: Tails) -> float:
    """Relative error of the filter's log(c + r)."""
    return LOG_BOUND + (tails.bound + 2 * U2) / 0.22


def _fold(hi: Float64Array, lo: Float64Array, k: IntArray) -> tuple[IntArray, Float64Array]:
    """k split in two: the exponent that is kept apart, and 2**(the rest) to multiply by."""
    kept = np.where(k >= FOLDED_ABOVE, 0, k)
    return kept, power_of_two(np.where(k >= FOLDED_ABOVE, k, 0))


def constant_quotients(counts: Float64Array, numerators: Float64Array) -> Pair:
    """numerators / counts of integers below 2**53, each part correctly rounded."""
    hi = numerators / counts
    # fl(a/b)*b - a is exactly representable: one exact product and difference
    p, e = two_prod(hi, counts)
    return hi, ((numerators - p) - e) / counts


def ball_row(x: Float64Array, row: int, fine: Fine | None) -> BallRow:
    """A row for Ziv's loop."""
    logit: Callable[[Any, int], Any] | None = None
    if fine is not None:
        logits = fine.logit

        def logit(engine: Any, column: int) -> Any:
            return logits(engine, row, column)

    return BallRow(x[row], logit)


def _repair(
    out: Exact, unsure: BoolArray, x: Float64Array, fine: Fine | None, settle: ElementSettler
) -> None:
    """Settles the elements marked in `unsure`, (rows, classes), by Ziv's loop, row by row."""
    for row in np.nonzero(unsure.any(axis=1))[0].tolist():
        balls = ball_row(x, row, fine)
        columns = np.nonzero(unsure[row])[0].tolist()
        # equal logits, equal results
        first = {
            (x[row, c], 0.0 if fine is None else fine.low[row, c]): c for c in reversed(columns)
        }
        settled = cache(lambda column, balls=balls: settle(balls, column))
        for column in columns:
            same = first[x[row, column], 0.0 if fine is None else fine.low[row, column]]
            at = row, column
            out.hi[at], out.lo[at], out.exponent[at] = settled(same)


def _top_softmax(tails: Tails) -> tuple[Float64Array, Float64Array, BoolArray, Pair]:
    """1/(c + r) per row with its certificate, and the same as a plain pair."""
    r = tails.folded()
    c = np.where(tails.ordinary, tails.count, 1.0)
    total = add_double(r, c)
    inverse = divide((np.ones_like(c), np.zeros_like(c)), total)
    error = softmax_bound(tails) * inverse[0]
    sure = certified(inverse[0], inverse[1], error)
    hi, lo = inverse
    # Near a power of two, 1/c - w with small relative error of w = (r/c)/(c + r) * c
    mantissa, _ = np.frexp(c)
    near = (mantissa == 0.5) & (r[0] > 0) & (r[0] < c * 2.0**-10)
    scaled = (np.where(near, r[0] / c, 2.0**-20), np.where(near, r[1] / c, 0.0))
    w = divide(scaled, add_double(scaled, 1.0))
    near_hi, near_lo, near_sure = certify_triple(one_minus(w), softmax_bound(tails) * w[0])
    hi, lo = np.where(near, near_hi / c, hi), np.where(near, near_lo / c, lo)
    sure = np.where(near, near_sure, sure)
    # Constant rows: the rational 1/c
    constant = tails.constant
    q = constant_quotients(c, np.ones_like(c))
    hi, lo = np.where(constant, q[0], hi), np.where(constant, q[1], lo)
    return hi, lo, sure | constant, inverse


def softmax_rows(x: Float64Array, fine: Fine | None = None) -> Exact:
    """Softmax of each row of float64 (rows, classes), classes >= 1; `fine` as in `row_tails`."""
    out = empty_exact(x.shape)
    unsure = softmax_from(x, out, row_tails(x, out, fine))
    if unsure.any():
        _repair(out, unsure, x, fine, BallRow.softmax)
    return out


def softmax_from(x: Float64Array, out: Exact, tails: Tails) -> BoolArray:
    """Makes softmax of exponentials; returns where it is not certain, (rows, classes).

    Args:
        x: (rows, classes), the rows or a part of their classes.
        out: of that shape, exp(x - m) of each element.
        tails: of the whole rows.
    """
    rows, classes = x.shape
    top_hi, top_lo, top_sure, inverse = _top_softmax(tails)
    bound = softmax_bound(tails)
    ordinary = tails.ordinary
    unsure = np.zeros(x.shape, dtype=bool)
    for r in row_blocks(rows, classes):
        for c in column_blocks(classes):
            block = (r, c)
            xb = x[block]
            m = tails.maximum[r, None]
            k = out.exponent[block].astype(np.int64)
            hi, lo = multiply(
                (out.hi[block], out.lo[block]), (inverse[0][r, None], inverse[1][r, None])
            )
            sure = certified(hi, lo, bound * hi)
            kept, scale = _fold(hi, lo, k)
            hi *= scale
            lo *= scale
            top = xb == m
            hi = np.where(top, top_hi[r, None], hi)
            lo = np.where(top, top_lo[r, None], lo)
            sure = np.where(top, top_sure[r, None], sure)
            kept = np.where(top, 0, kept)
            _special(hi, lo, kept, sure, xb, m)
            out.hi[block], out.lo[block], out.exponent[block] = hi, lo, kept
            unsure[block] = ~sure & ordinary[r, None]
    return unsure


def _special(
    hi: Float64Array,
    lo: Float64Array,
    exponent: IntArray,
    sure: BoolArray,
    x: Float64Array,
    m: Float64Array,
) -> None:
    """Masked and negligible entries, and rows without a finite maximum."""
    far = x / 2 - m / 2 < NEGLIGIBLE_DIFFERENCE / 2
    if far.any():
        masked = x == -np.inf
        for where, value, k in ((far, 1.0, SMALLEST_EXPONENT), (masked, 0.0, 0)):
            hi[where], lo[where], exponent[where], sure[where] = value, 0.0, k, True
    broken = np.broadcast_to(~np.isfinite(m), hi.shape)
    if broken.any():
        hi[broken], lo[broken], exponent[broken] = np.nan, 0.0, 0


def log_total(tails: Tails) -> tuple[Pair, Float64Array]:
    """log(c + r) per row, and the absolute error bound."""
    r = tails.folded()
    c = np.where(tails.ordinary, tails.count, 1.0)
    pair = log_count_plus(c, r)
    return pair, log_bound(tails) * pair[0] + tails.slack


def log_values(
    x: Float64Array, tails: Tails, rows: slice, total: Pair, error: Float64Array,
    low: Float64Array | None = None,
) -> tuple[Float64Array, Float64Array, IntArray, BoolArray]:  # fmt: skip
    """(x - m) - log(c + r) for entries x, (rows, anything), of the given rows.

    Args:
        low: what `x` does not hold, if it is of differences.
    """
    ordinary = tails.ordinary[rows, None]
    m = np.where(ordinary, tails.maximum[rows, None], 0.0)
    lh, ll = total[0][rows, None], total[1][rows, None]
    d = differences(np.where(ordinary, x, 0.0), m) if low is None else (x, low)
    finite = np.isfinite(d[0])
    dh = np.where(finite, d[0], -1.0)
    triple = sum_of_pairs((dh, d[1]), (-lh, -ll))
    hi, lo, sure = certify_triple(triple, np.broadcast_to(error[rows, None], x.shape))
    exponent = np.zeros(x.shape, dtype=np.int64)
    sure &= finite
    # A stand-in for a tiny tail must not outweigh the last bits of x - m
    delicate = (tails.tiny & (tails.count == 1))[rows, None]
    sure &= ~(delicate & (d[1] != 0) & (np.abs(d[1]) < 2 * SMALLEST_TAIL))
    # The maximum itself: -log(c + r), which is -r where r is tiny and c = 1
    top = x == m
    small = (tails.exponent[rows, None] < -399) & (tails.count[rows, None] == 1)
    hi = np.where(top, np.where(small, -tails.hi[rows, None], -lh), hi)
    lo = np.where(top, np.where(small, -tails.lo[rows, None], -ll), lo)
    exponent = np.where(top & small, tails.exponent[rows, None], exponent)
    top_sure = certified(hi, lo, log_bound(tails) * np.abs(hi))
    top_sure &= ~(tails.outside[rows, None] & (tails.count[rows, None] == 1))
    sure = np.where(top, top_sure, sure)
    alone = np.broadcast_to((tails.unmasked[rows, None] == 1), x.shape)
    for where, value in ((top & alone, 0.0), (x == -np.inf, -np.inf), (~ordinary, np.nan)):
        where = np.broadcast_to(where, x.shape)
        hi[where], lo[where], exponent[where], sure[where] = value, 0.0, 0, True
    return hi, lo, exponent, sure


def log_softmax_rows(x: Float64Array) -> Exact:
    """Log-softmax of each row of float64 (rows, classes), classes >= 1."""
    rows, classes = x.shape
    out = empty_exact(x.shape)
    tails = row_tails(x)
    total, error = log_total(tails)
    unsure = np.zeros(x.shape, dtype=bool)
    for r in row_blocks(rows, classes):
        for c in column_blocks(classes):
            hi, lo, exponent, sure = log_values(x[r, c], tails, r, total, error)
            out.hi[r, c], out.lo[r, c], out.exponent[r, c] = hi, lo, exponent
            unsure[r, c] = ~sure
    if unsure.any():
        _repair(out, unsure, x, None, BallRow.log_softmax)
    return out


def logsumexp_rows(x: Float64Array) -> Exact:
    """Log-sum-exp of each row of float64 (rows, classes), classes >= 1; shape (rows,)."""
    tails = row_tails(x)
    total, error = log_total(tails)
    m = np.where(tails.ordinary, tails.maximum, 0.0)
    hi, lo, sure = certify_triple(sum_of_pairs((m, np.zeros_like(m)), total), error)
    exponent = np.zeros(m.shape, dtype=np.int32)
    # A stand-in for a tiny tail serves only where the maximum dwarfs it
    tiny = tails.tiny
    sure &= ~(tiny & (tails.count == 1) & (np.abs(m) < 2.0**-290))
    direct = tiny & ~tails.outside & (tails.count == 1) & (m == 0)
    hi, lo = np.where(direct, tails.hi, hi), np.where(direct, tails.lo, lo)
    exponent = np.where(direct, tails.exponent, exponent).astype(np.int32)
    sure |= direct & certified(hi, lo, log_bound(tails) * hi)
    for where, value in ((tails.unmasked == 1, m), (~tails.ordinary, tails.maximum)):
        hi, lo = np.where(where, value, hi), np.where(where, 0.0, lo)
        exponent = np.where(where, np.int32(0), exponent)
        sure |= where
    out = Exact(hi, lo, exponent)
    for row in np.nonzero(~sure)[0]:
        out.hi[row], out.lo[row], out.exponent[row] = BallRow(x[row]).logsumexp()
    return out
