"""Cross-entropy: the loss log sum_j exp(x_j) - x_t, and its gradient p - onehot(t).

The difficult part is p_t - 1: it cancels near saturation, and is wanted to small relative error.
"""

from __future__ import annotations

import numpy as np

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.certificate import certified, certify_triple, one_minus
from harness.reference.double_double import add_double, divide
from harness.reference.operations import (
    ball_row,
    constant_quotients,
    log_total,
    log_values,
    softmax_bound,
    softmax_rows,
)
from harness.reference.tails import SMALLEST_TAIL, BoolArray, Fine, IntArray, Tails, row_tails


def cross_entropy_rows(
    x: Float64Array, targets: IntArray, fine: Fine | None = None
) -> tuple[Exact, Exact]:
    """Loss -log p_t, shape (rows,), and gradient p - onehot(t), shape (rows, classes).

    Args:
        fine: as in `row_tails`.
    """
    rows = np.arange(x.shape[0])
    tails = row_tails(x, None, fine)
    total, error = log_total(tails)
    wanted = x[rows, targets]
    low = None if fine is None else fine.low[rows, targets][:, None]
    values = log_values(wanted[:, None], tails, slice(None), total, error, low)
    loss = Exact(-values[0][:, 0] + 0.0, -values[1][:, 0], values[2][:, 0].astype(np.int32))
    gradient = softmax_rows(x, fine)
    minus = _minus_one(wanted, tails, gradient[rows, targets])
    gradient.hi[rows, targets] = minus[0]
    gradient.lo[rows, targets] = minus[1]
    gradient.exponent[rows, targets] = minus[2]
    for row in np.nonzero(~(values[3][:, 0] & minus[3]))[0]:
        balls, at = ball_row(x, int(row), fine), (row, targets[row])
        hi, lo, exponent = balls.log_softmax(int(targets[row]))
        loss.hi[row], loss.lo[row], loss.exponent[row] = -hi, -lo, exponent
        settled = balls.softmax_minus_one(int(targets[row]))
        gradient.hi[at], gradient.lo[at], gradient.exponent[at] = settled
    return loss, gradient


def _minus_one(
    x: Float64Array, tails: Tails, p: Exact
) -> tuple[Float64Array, Float64Array, IntArray, BoolArray]:
    """softmax(x) - 1 for one entry per row, whose softmax is `p`."""
    c = np.where(tails.ordinary, tails.count, 1.0)
    r = tails.folded()
    top = x == tails.maximum
    # The maximum: -(c - 1 + r)/(c + r), which is -r where r is tiny and c = 1
    q = divide(add_double(r, c - 1.0), add_double(r, c))
    small = (tails.exponent < -399) & (c == 1)
    hi = -np.where(small, tails.hi, q[0])
    lo = -np.where(small, tails.lo, q[1])
    exponent = np.where(top & small, tails.exponent, 0)
    bound = 2 * softmax_bound(tails)
    sure = certified(hi, lo, bound * np.abs(hi)) & ~(tails.outside & (c == 1))
    rational = constant_quotients(c, c - 1.0)
    hi = np.where(tails.constant, -rational[0] + 0.0, hi)
    lo = np.where(tails.constant, -rational[1], lo)
    sure |= tails.constant
    # Any other: -(1 - p), and p is at most 1/2
    tiny = (p.exponent < -399) | (p.hi < SMALLEST_TAIL)
    other = ~top & tails.ordinary
    w = (
        np.where(tiny | ~other, SMALLEST_TAIL, p.hi),
        np.where(tiny | ~other, 0.0, p.lo),
    )
    other_hi, other_lo, other_sure = certify_triple(one_minus(w), bound * w[0])
    hi, lo = np.where(other, -other_hi, hi), np.where(other, -other_lo, lo)
    sure = np.where(other, other_sure, sure)
    masked = other & (x == -np.inf)
    hi, lo = np.where(masked, -1.0, hi), np.where(masked, 0.0, lo)
    hi = np.where(tails.ordinary, hi, np.nan)
    lo = np.where(tails.ordinary, lo, 0.0)
    return hi, lo, np.where(tails.ordinary, exponent, 0), sure | masked | ~tails.ordinary
