"""When a sum hi + lo known to an error bound may be believed: the fast filter's certificate.

A pair is *certain* if no number of 54 bits (all representable values and all midpoints of every
format of at most 53 bits) lies between it and the true value: it then rounds as the true value.
"""

from __future__ import annotations

import numpy as np

from harness.numerics.formats import Float64Array
from harness.reference.double_double import Pair, Triple, quick_two_sum, two_sum
from harness.reference.tails import BoolArray

WORST_RELATIVE_ERROR = 2.0**-90
"""What every Exact of this package guarantees (most elements: 2**-98)."""


def certified(hi: Float64Array, lo: Float64Array, error: Float64Array) -> BoolArray:
    """No 54-bit number within `error`, absolute, of hi + lo, where hi = fl(hi + lo)."""
    reach = error + 2.0**-52 * np.abs(lo)  # covers the rounding of lo + reach
    sure: BoolArray = np.abs(lo) > reach
    sure &= hi + (lo + reach) == hi
    sure &= hi + (lo - reach) == hi
    return sure


def certify_triple(
    value: Triple, error: Float64Array
) -> tuple[Float64Array, Float64Array, BoolArray]:
    """hi, lo, certain of h + m + t known to `error`, where h = fl(h + m), m = fl(m + t).

    The third part decides where m is exactly half a last place of h: lo is then drawn just off
    the midpoint, to the side on which the true value lies (rounding to odd, in effect).
    """
    head, middle, tail = value
    beyond = middle * (1 + 2.0**-50)
    mantissa, _ = np.frexp(middle)
    tie = (np.abs(mantissa) == 0.5) & (head + beyond != head) & (np.abs(tail) > error)
    further = tie & (np.sign(tail) == np.sign(middle))
    hi = np.where(further, head + 2.0 * middle, head)
    inner = np.nextafter(middle, 0.0)
    lo = np.where(tie, np.where(further, -inner, inner), middle + tail)
    slack = error + 2.0**-51 * np.abs(lo)
    sure = certified(hi, lo, slack) | tie
    sure &= slack < WORST_RELATIVE_ERROR * np.abs(hi)
    return hi, lo, sure


def sum_of_pairs(a: Pair, b: Pair) -> Triple:
    """a + b, exact but for the last bits of the third part."""
    s, e = two_sum(a[0], b[0])
    t, f = two_sum(a[1], b[1])
    middle, e2 = two_sum(e, t)
    rest, f2 = two_sum(e2, f)
    head, middle = two_sum(s, middle)
    middle, rest = two_sum(middle, rest)
    head, middle = two_sum(head, middle)
    middle, tail = two_sum(middle, rest + f2)
    return head, middle, tail


def one_minus(w: Pair) -> Triple:
    """1 - w for 0 < w <= 1/2, exactly."""
    head, e = two_sum(np.ones_like(w[0]), -w[0])
    middle, rest = two_sum(e, -w[1])
    head, middle = quick_two_sum(head, middle)
    middle, tail = two_sum(middle, rest)
    return head, middle, tail
