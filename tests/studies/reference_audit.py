"""A second opinion on the reference: mpmath from the textbook formulas, and its own rounding.

The tests hold the oracle against it, and so can anybody who doubts a figure. It
shares no code with the oracle: plain point evaluation at a precision far beyond need, and
rounding in integers. Slow: for thousands of elements, not millions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.numerics.exact import Exact
from harness.numerics.formats import FORMATS, FloatFormat, float_format

Rows = Sequence[Sequence[float]]
RowOperation = Callable[[Any, Sequence[float]], list[Any]]


def _softmax(mp: Any, row: Sequence[float]) -> list[Any]:
    terms = [mp.exp(mp.mpf(v)) for v in row]
    total = mp.fsum(terms)
    return [t / total for t in terms]


def _logsumexp(mp: Any, row: Sequence[float]) -> list[Any]:
    return [mp.log(mp.fsum(mp.exp(mp.mpf(v)) for v in row))]


def _log_softmax(mp: Any, row: Sequence[float]) -> list[Any]:
    total = _logsumexp(mp, row)[0]
    return [mp.mpf(v) - total for v in row]


OPERATIONS: dict[str, RowOperation] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
}


@dataclass(frozen=True)
class Discrepancy:
    """An element on which the oracle and the second opinion differ."""

    operation: str
    row: int
    column: int
    format: str
    got: str
    expected: str

    def __str__(self) -> str:
        return (
            f"{self.operation}[{self.row}, {self.column}] in {self.format}: "
            f"got {self.got}, but should be {self.expected}"
        )


def second_opinion(operation: str, row: Sequence[float], bits: int = 600) -> list[Fraction]:
    """The operation on one row of finite logits, as rationals with relative error near 2**-bits.

    The caller's `bits` must exceed what cancels: for logits of moderate size, 1.5 times the gap
    between the largest and the next, in log_softmax and logsumexp.
    """
    import mpmath

    if len(row) == 1:
        return [Fraction(row[0]) if operation == "logsumexp" else Fraction(operation == "softmax")]
    mp = mpmath.mp.clone()
    mp.prec = bits
    return [_fraction(v) for v in OPERATIONS[operation](mp, row)]


def _fraction(value: Any) -> Fraction:
    sign, man, exponent, _ = value._mpf_
    magnitude = Fraction(int(man)) * Fraction(2) ** int(exponent)
    return -magnitude if sign else magnitude


def rational_backward(grad: Sequence[float], y: Sequence[float]) -> list[Fraction]:
    """y_i (g_i - sum_j g_j y_j) in rational arithmetic."""
    g, v = [Fraction(a) for a in grad], [Fraction(b) for b in y]
    total = sum((a * b for a, b in zip(g, v, strict=True)), Fraction(0))
    return [b * (a - total) for a, b in zip(g, v, strict=True)]


def pair_value(exact: Exact, index: int) -> Fraction:
    """Element `index` of a flat exact array, as a rational."""
    hi, lo = float(exact.hi.flat[index]), float(exact.lo.flat[index])
    return (Fraction(hi) + Fraction(lo)) * Fraction(2) ** int(exact.exponent.flat[index])


def round_rational(value: Fraction, fmt: FloatFormat | str) -> float:
    """`value` rounded to nearest even in `fmt`, in integers; the result as a float64.

    Overflow gives an infinity (NaN where the format has none).
    """
    form = float_format(fmt)
    if value == 0:
        return 0.0
    magnitude = abs(value)
    binade = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** binade:
        binade -= 1
    quantum = max(binade, form.emin) - form.precision + 1
    scaled = magnitude / Fraction(2) ** quantum
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    twice = 2 * rest - scaled.denominator
    if twice > 0 or (twice == 0 and whole & 1):
        whole += 1
    rounded = Fraction(whole) * Fraction(2) ** quantum
    if rounded > Fraction(form.max):
        result = float("inf") if form.has_inf else float("nan")
    else:
        result = float(rounded)
    return -result if value < 0 else result


def audit_rounding(
    operation: str,
    oracle: Callable[[NDArray[np.float64], str], NDArray[Any]],
    rows: Rows,
    formats: Sequence[str] = tuple(FORMATS),
    bits: int = 600,
) -> list[Discrepancy]:
    """Where `oracle(x, format)`, of float64 (1, classes), isn't the correct rounding."""
    found = []
    for i, row in enumerate(rows):
        truth = second_opinion(operation, row, bits)
        for name in formats:
            result = np.asarray(oracle(np.array([row], dtype=np.float64), name)).reshape(-1)
            if result.dtype != FORMATS[name].dtype:
                found.append(Discrepancy(operation, i, 0, name, str(result.dtype), f"dtype {name}"))
                continue
            for j, value in enumerate(truth):
                got, expected = float(result[j]), round_rational(value, name)
                if got != expected and not (np.isnan(got) and np.isnan(expected)):
                    found.append(Discrepancy(operation, i, j, name, got.hex(), expected.hex()))
    return found


def worst_relative_error(
    operation: str,
    oracle: Callable[[NDArray[np.float64]], Exact],
    rows: Rows,
    bits: int = 600,
) -> float:
    """The largest relative error of `oracle(x)`, an `Exact`, over the rows; 1.0 if absurd."""
    worst = 0.0
    for row in rows:
        exact = oracle(np.array([row], dtype=np.float64))
        for j, value in enumerate(second_opinion(operation, row, bits)):
            if value != 0:
                worst = max(worst, float(abs(pair_value(exact, j) / value - 1)))
            elif exact.hi.flat[j] != 0:
                worst = max(worst, 1.0)
    return worst
