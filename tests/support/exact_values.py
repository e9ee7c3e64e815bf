"""What the expected values in docs/findings/ are, by balls of Arb: proven, or an error.

No value comes from a library that is judged: an expression is evaluated with 400 bits, and rounded
once where both ends of the enclosure round alike.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from flint import arb, ctx

from harness.numerics.formats import FORMATS

BITS = 400
_HEX = re.compile(r"0x[0-9a-f.]+p[+-]\d+")
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int(number)):
            return arb(number)
        case ast.Name(id="nan"):
            return arb("nan")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.Call(func=ast.Name(id="exp" | "log" as name), args=[argument]):
            return getattr(_value(argument), name)()
    raise ValueError(f"expected +, -, *, /, exp, log and numbers; got {ast.unparse(node)}")


def exact(expression: str) -> Any:
    """The ball of an expression of integers, hexadecimal floats, + - * /, exp, log and nan."""

    def ratio(match: re.Match[str]) -> str:
        return "({}/{})".format(*float.fromhex(match[0]).as_integer_ratio())

    bits = ctx.prec
    ctx.prec = BITS
    try:
        return _value(ast.parse(_HEX.sub(ratio, expression), mode="eval").body)
    finally:
        ctx.prec = bits


def _fraction(number: Any) -> Fraction:
    mantissa, exponent = number.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _nearest(value: Fraction, name: str) -> float:
    """To nearest, ties to even; subnormal numbers too."""
    if not value:
        return 0.0
    fmt = FORMATS[name]
    binade = math.floor(math.log2(abs(value.numerator)) - math.log2(value.denominator))
    while abs(value) < Fraction(2) ** binade:
        binade -= 1
    while abs(value) >= Fraction(2) ** (binade + 1):
        binade += 1
    quantum = Fraction(2) ** (max(binade, fmt.emin) - fmt.precision + 1)
    return float(round(value / quantum) * quantum)


def rounded(ball: Any, name: str) -> float:
    """The number of the format `name` that is nearest to every number in the ball.

    Raises:
        ValueError: where the ends of the ball round to different numbers.
    """
    if ball.is_nan():
        return math.nan
    bits = ctx.prec
    ctx.prec = BITS
    low, high = (_nearest(_fraction(end), name) for end in (ball.lower(), ball.upper()))
    ctx.prec = bits
    if low != high:
        raise ValueError(f"{ball}: {BITS} bits do not decide its rounding to {name}")
    return low
