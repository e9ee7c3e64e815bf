"""Ziv's loop: intervals at rising precision until the result, as hi + lo, is certain.

The slow path, for the few elements that the double-double filter can't settle.
"Certain" means two things, for every format of at most 53 bits at once: the relative error of
hi + lo is below 2**-100, and no number of 54 bits (all the representable values and midpoints of
all those formats) lies between hi + lo and the true value, so that hi + lo rounds as it would.

Where the true value is known to lie strictly on one side of a dyadic number that it may approach
beyond any precision (log_softmax([2**53, -1])), the interval is cut there: the direction comes
from the sign of the remainder, never from more bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.reference.engines import Endpoints, Engine, default_engine

FIRST_PRECISION = 128
LAST_PRECISION = 1 << 16
SMALLEST_EXPONENT = -(2**19)
"""Magnitudes below 2**SMALLEST_EXPONENT are given as that: no format comes near, and above it the
fast filter's exp still serves."""

NEGLIGIBLE_DIFFERENCE = SMALLEST_EXPONENT * 0.69
"""exp of a smaller difference counts as 2**SMALLEST_EXPONENT (0.69 < ln 2: a little early)."""

FOLDED_ABOVE = -900
"""Values of at least 2**FOLDED_ABOVE have exponent 0; smaller ones carry theirs."""

LARGEST_FOLDED = 1000

_STICKY = 2.0**-1000  # stands for a remainder of hi >= 2**-900 that is smaller still

Settled = tuple[float, float, int]


Dyadic = tuple[float, float]
"""A dyadic number as the exact sum of two floats (which may overflow if evaluated)."""


@dataclass(frozen=True)
class Enclosure:
    """A number in an engine's ball and, where known, strictly above or below a dyadic number."""

    ball: Any
    above: Dyadic | None = None
    below: Dyadic | None = None


def settle(evaluate: Callable[[Engine, int], Enclosure], what: str) -> Settled:
    """hi, lo, exponent of the number that `evaluate(engine, bits)` encloses.

    Raises:
        ArithmeticError: if `LAST_PRECISION` bits don't decide it (`what` says which number).
    """
    engine = default_engine()
    bits = FIRST_PRECISION
    while bits <= LAST_PRECISION:
        with engine.precision(bits):
            enclosure = evaluate(engine, bits)
            a, b, e = engine.endpoints(enclosure.ball)
            pair = settle_interval(_cut((a, b, e), enclosure))
        if pair is not None:
            return pair
        bits *= 2
    raise ArithmeticError(
        f"{what}: expected its rounding to be decided by {LAST_PRECISION} bits; it is not; "
        f"please report this input"
    )


def _cut(interval: Endpoints, enclosure: Enclosure) -> Endpoints:
    """The part of the interval on the known side of the enclosure's limits."""
    a, b, e = interval
    for limit, keep_above in ((enclosure.above, True), (enclosure.below, False)):
        if limit is None:
            continue
        man, exponent = _integer_and_exponent(limit)
        if man == 0:
            a, b = (max(a, 0), b) if keep_above else (a, min(b, 0))
            continue
        common = min(e, exponent)
        if max(e, exponent) - common > 1 << 17:
            continue  # incomparable: the interval is nowhere near the limit
        a, b, man = a << (e - common), b << (e - common), man << (exponent - common)
        a, b, e = (max(a, man), b, common) if keep_above else (a, min(b, man), common)
    return a, b, e


def _integer_and_exponent(number: Dyadic) -> tuple[int, int]:
    (p, q), (r, s) = number[0].as_integer_ratio(), number[1].as_integer_ratio()
    scale = max(q, s)  # both are powers of two
    return p * (scale // q) + r * (scale // s), 1 - scale.bit_length()


def settle_interval(interval: Endpoints) -> Settled | None:
    """hi, lo, exponent of any number of the *open* interval, or None if that isn't certain."""
    a, b, e = interval
    if a >= b:
        raise ArithmeticError(f"enclosure: expected a < b; got {a}, {b} (times 2**{e})")
    if a < 0 < b:
        return None
    if b <= 0:
        mirrored = settle_interval((-b, -a, e))
        return None if mirrored is None else (-mirrored[0], -mirrored[1], mirrored[2])
    if b.bit_length() + e <= SMALLEST_EXPONENT:
        return 1.0, 0.0, SMALLEST_EXPONENT
    if (b - a) << 100 > b:
        return None
    padding = max(0, 128 - a.bit_length())
    a, b, e = a << padding, b << padding, e - padding
    shift = a.bit_length() - 54
    cell = a >> shift
    if b > (cell + 1) << shift:
        return None
    return _pair((a + b) >> 1 if b - a > 1 else a, cell, shift, e)


def _pair(value: int, cell: int, shift: int, e: int) -> Settled:
    """The pair for `value` * 2**e, strictly between `cell` and `cell` + 1 units of 2**shift."""
    head = (cell + 1) >> 1  # to nearest 53 bits: an odd cell rounds up, an even one down
    unit = shift + 1
    rest = abs(value - (head << unit)) / (1 << unit)  # int / int is correctly rounded
    # Strictly between 0 and 1/2 of hi's last place, and its float must say so
    lo = min(max(rest, _STICKY), math.nextafter(0.5, 0.0))
    if cell & 1:
        lo = -lo
    return _place(head, lo, unit + e)


def _place(head: int, units: float, e: int) -> Settled:
    """(head + units) * 2**e as hi, lo, exponent; head of 53 or 54 bits, abs(units) <= 1/2."""
    binade = head.bit_length() - 1 + e
    folded = FOLDED_ABOVE <= binade <= LARGEST_FOLDED
    scale = e if folded else 1 - head.bit_length()
    lo = math.ldexp(units, scale)
    if units:
        lo = math.copysign(max(abs(lo), _STICKY), units)
    if binade <= SMALLEST_EXPONENT:
        return 1.0, 0.0, SMALLEST_EXPONENT
    return math.ldexp(head, scale), lo, 0 if folded else binade


def exact_pair(value: int, e: int) -> Settled:
    """hi, lo, exponent of the integer `value` times 2**e, ties and zero included.

    Where 106 bits don't hold the number, lo is drawn off the midpoint of hi's neighbours, so that
    hi + lo rounds as the number does.
    """
    if value == 0:
        return 0.0, 0.0, 0
    if value < 0:
        hi, lo, exponent = exact_pair(-value, e)
        return -hi, -lo, exponent
    shift = value.bit_length() - 53
    if shift <= 0:
        value, e, shift = value << (1 - shift), e - (1 - shift), 1
    head, rest = divmod(value, 1 << shift)
    half = 1 << (shift - 1)
    if rest > half or (rest == half and head & 1):
        head, rest = head + 1, rest - (1 << shift)
    units = abs(rest) / (1 << shift)
    if rest and abs(rest) != half:
        units = min(max(units, _STICKY), math.nextafter(0.5, 0.0))
    return _place(head, units if rest > 0 else -units, shift + e)
