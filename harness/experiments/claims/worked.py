"""Worked examples: printed decimals against Arb balls of the very decimals that went in.

0.1 is a tenth here and no binary number: inputs are rational, as the articles print them.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
from flint import arb, ctx, fmpq

from harness.experiments.claims.claim import Evidence
from harness.records.claims import Finding, PrintedNumber

_BITS = 256


def _ball(value: Fraction) -> Any:
    return arb(fmpq(value.numerator, value.denominator))


def certified_softmax(logits: Sequence[str]) -> list[Any]:
    """Arb balls of the softmax of decimal logits, in agreement with mpmath.

    Raises:
        ArithmeticError: the two engines disagree.
    """
    rational = [Fraction(t) for t in logits]
    top = max(rational)
    with ctx.workprec(_BITS), mpmath.workprec(_BITS):
        exponentials = [_ball(r - top).exp() for r in rational]
        total = sum(exponentials, arb(0))
        balls = [e / total for e in exponentials]
        parts = [mpmath.exp(mpmath.mpf(r.numerator) / r.denominator) for r in rational]
        for ball, part in zip(balls, parts, strict=True):
            other = part / sum(parts)
            if not abs(float(ball.mid()) - float(other)) <= 2.0**-52 * float(other):
                raise ArithmeticError(
                    f"softmax of {list(logits)}: Arb and mpmath disagree: {ball}, {other}"
                )
    return balls


def _decimal(ball: Any, places: int) -> str:
    """The ball's value rounded to decimal places; its radius is far below them."""
    value = Decimal(ball.mid().str(60, radius=False))
    return str(value.quantize(Decimal(1).scaleb(-places)))


def compare_number(
    label: str, claimed: str, true: Any, exact: Fraction | None = None
) -> PrintedNumber:
    """A printed decimal against a ball (or, where given, against an exact rational).

    Raises:
        ArithmeticError: the ball is too wide to decide the last digit.
    """
    printed = Fraction(claimed)
    places = len(claimed.partition(".")[2])
    unit = Fraction(1, 10**places)
    if exact is not None:
        same = printed == exact
        close = abs(printed - exact) <= unit / 2
        value = Decimal(exact.numerator) / Decimal(exact.denominator)
        rounded = str(value.quantize(Decimal(1).scaleb(-places)))
        return PrintedNumber(label, claimed, str(value.normalize()), rounded, same, close)
    with ctx.workprec(_BITS):
        distance = abs(_ball(printed) - true)
        half = _ball(unit / 2)
        near, far = bool(distance < half), bool(distance > half)
    if near == far:
        raise ArithmeticError(f"{label}: the enclosure does not decide the digit of {claimed}")
    return PrintedNumber(
        label, claimed, _decimal(true, max(5, places + 1)), _decimal(true, places), False, near
    )


def _list(numbers: Sequence[str]) -> str:
    return "[" + ", ".join(numbers) + "]"


def worked_example(
    logits: Sequence[str],
    printings: Sequence[Sequence[str]],
    hardmax: Sequence[str] | None = None,
) -> Evidence:
    """The evidence on one worked example, printed once or several times.

    Args:
        logits: decimals as printed.
        printings: each a list of decimals claimed to be the softmax.
        hardmax: a list claimed to be one at the maximum and zero elsewhere.
    """
    balls = certified_softmax(logits)
    numbers = []
    remarks = []
    for printing in printings:
        for i, (claimed, ball) in enumerate(zip(printing, balls, strict=True)):
            numbers.append(compare_number(f"p{i + 1}", claimed, ball))
        total = sum(map(Fraction, printing), Fraction(0))
        units = (Fraction(1, 10 ** len(t.partition(".")[2])) for t in printing)
        slack = sum(units, Fraction(0)) / 2
        remarks.append(
            Finding(
                f"{_list(printing)} sums to 1 within the rounding of its digits",
                1,
                int(abs(total - 1) <= slack),
                f"the sum is {float(total):.10g}",
                "remark",
                {"sum": float(total)},
            )
        )
    certified = _list([_decimal(b, 5) for b in balls])
    if hardmax is not None:
        rational = [Fraction(t) for t in logits]
        for i, claimed in enumerate(hardmax):
            value = Fraction(int(i == rational.index(max(rational))))
            numbers.append(compare_number(f"hardmax {i + 1}", claimed, None, value))
        certified += "; hardmax " + _list([str(int(r == max(rational))) for r in rational])
    return Evidence(
        certified,
        f"softmax of the decimals {_list(logits)} enclosed by Arb at {_BITS} bits, and again by "
        f"mpmath; a printed digit is right if the number is within half a unit of it",
        tuple(numbers),
        tuple(remarks),
    )
