"""Two (maximum, sum) pairs made one, exactly: what blocks, splits and ring attention do.

(m, s) stands for s exp(m), s the sum of exp(x - m) over a part of a row. The pair of both parts has
the larger maximum, exactly, and s = a + b exp(d), d the difference of the maxima, at most 0.
"""

from __future__ import annotations

import numpy as np

from harness.numerics.exact import Exact
from harness.numerics.formats import Float64Array
from harness.reference.certificate import certify_triple, sum_of_pairs
from harness.reference.double_double import U2, multiply_double, power_of_two
from harness.reference.elementary import EXP_BOUND, EXP_RANGE, exp
from harness.reference.engines import Engine
from harness.reference.tails import differences
from harness.reference.ziv import NEGLIGIBLE_DIFFERENCE, SMALLEST_EXPONENT, Enclosure, settle

_LEAST = -900  # exponent of a term that the filter still tells from nothing


@np.errstate(all="ignore")
def merge_pairs(
    m1: Float64Array, s1: Float64Array, m2: Float64Array, s2: Float64Array
) -> tuple[Float64Array, Exact]:
    """The maximum and the sum of both parts; one-dimensional arrays of one length.

    A part without classes is (-inf, 0) and changes nothing. With a NaN, a maximum of +inf or a sum
    that is infinite or negative, the sum is NaN.
    """
    maximum = np.maximum(m1, m2)
    first = m1 >= m2
    a, b = np.where(first, s1, s2), np.where(first, s2, s1)
    lower = np.where(first, m2, m1)
    alike = lower == maximum
    usable = np.isfinite(maximum) & np.isfinite(lower) & ~alike
    dh, dl = differences(np.where(usable, lower, 0.0), np.where(usable, maximum, 0.0))
    inside = dh >= -EXP_RANGE
    eh, el, k = exp(np.where(inside, dh, 0.0), np.where(inside, dl, 0.0))
    term = multiply_double((eh, el), b)
    plain = np.maximum(k, _LEAST)
    scale = np.where(alike, 1.0, np.where(usable & inside, power_of_two(plain), 0.0))
    hi, lo = np.where(alike, b, term[0] * scale), np.where(alike, 0.0, term[1] * scale)
    error = np.where(alike, 0.0, np.abs(hi) * (EXP_BOUND + 3 * U2))
    triple = sum_of_pairs((a, np.zeros_like(a)), (hi, lo))
    out_hi, out_lo, sure = certify_triple(triple, error)
    exact = alike | (b == 0) | (lower == -np.inf)
    head = np.where(exact, np.where(alike, a + b, a), out_hi)
    rest = np.where(alike, (np.minimum(a, b) - (head - np.maximum(a, b))), 0.0)
    out = Exact(head, np.where(exact, rest, out_lo), np.zeros(head.shape, np.int32))
    sure = exact | (sure & (k >= _LEAST) & inside)
    wrong = np.isnan(maximum) | (maximum == np.inf) | ~((a >= 0) & (b >= 0) & np.isfinite(a + b))
    out.hi[wrong], out.lo[wrong] = np.nan, 0.0
    for i in np.nonzero(~sure & ~wrong)[0].tolist():
        settled = _settled(float(maximum[i]), float(lower[i]), float(a[i]), float(b[i]))
        out.hi[i], out.lo[i], out.exponent[i] = settled
    return maximum, out


def _settled(maximum: float, lower: float, a: float, b: float) -> tuple[float, float, int]:
    """One sum by Ziv's loop; above a."""

    def evaluate(engine: Engine, bits: int) -> Enclosure:
        if lower / 2 - maximum / 2 < NEGLIGIBLE_DIFFERENCE / 2:
            weight = engine.positive_below(SMALLEST_EXPONENT)
        else:
            weight = engine.exp(engine.number(lower) - engine.number(maximum))
        total = engine.number(a) + engine.number(b) * weight
        return Enclosure(total, above=(a, 0.0))

    return settle(evaluate, f"merge of sums {a.hex()} and {b.hex()}")
