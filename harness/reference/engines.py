"""Interval engines behind Ziv's loop: Arb balls (python-flint), else mpmath's interval context.

Rigorous arithmetic at any precision. An engine's numbers are opaque `Any`; they support + - * /,
and every operation encloses the true result. `default_engine` alone chooses which engine serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

Endpoints = tuple[int, int, int]
"""(a, b, e): the enclosure [a * 2**e, b * 2**e]."""

_WIDEST_GAP = 1 << 16  # bits between two ends beyond which the interval is widened


class ArbEngine:
    """Midpoint-radius balls: F. Johansson, "Arb", IEEE Trans. Computers 66(8), 2017."""

    name = "arb"

    def __init__(self) -> None:
        import flint

        self._flint = flint

    def precision(self, bits: int) -> Any:
        """A context manager under which operations carry `bits` bits."""
        return self._flint.ctx.workprec(bits)

    @property
    def bits(self) -> int:
        """What operations carry now."""
        return int(self._flint.ctx.prec)

    def number(self, value: float | int) -> Any:
        """A finite float or an integer, exactly (or enclosed, beyond the precision)."""
        return self._flint.arb(value)

    def positive_below(self, exponent: int) -> Any:
        """The interval [0, 2**exponent]."""
        half = self._flint.arb(2) ** (exponent - 1)
        return self._flint.arb(half, half)

    def exp(self, x: Any) -> Any:
        return x.exp()

    def log(self, x: Any) -> Any:
        return x.log()

    def log1p(self, x: Any) -> Any:
        """For x >= 0, with small relative error however small x is."""
        return x.log1p()

    def endpoints(self, x: Any) -> Endpoints:
        """The enclosure's ends as exact dyadic numbers."""
        if not x.is_finite():
            raise ArithmeticError(f"arb: expected a finite ball; got {x}")
        a, b = (end.man_exp() for end in (x.lower(), x.upper()))
        return _aligned(int(a[0]), int(a[1]), int(b[0]), int(b[1]))


class MpmathEngine:
    """The same in mpmath's interval context, whose exp, log and arithmetic round outward."""

    name = "mpmath"

    def __init__(self) -> None:
        from mpmath import iv

        self._iv = iv

    @contextmanager
    def precision(self, bits: int) -> Iterator[None]:
        old = self._iv.prec
        self._iv.prec = bits
        try:
            yield
        finally:
            self._iv.prec = old

    @property
    def bits(self) -> int:
        return int(self._iv.prec)

    def number(self, value: float | int) -> Any:
        return self._iv.mpf(value)

    def positive_below(self, exponent: int) -> Any:
        return self._iv.mpf([0, self._iv.ldexp(self._iv.mpf(1), exponent).b])

    def exp(self, x: Any) -> Any:
        return self._iv.exp(x)

    def log(self, x: Any) -> Any:
        return self._iv.log(x)

    def log1p(self, x: Any) -> Any:
        bits = self._iv.prec
        _, end, exponent = self.endpoints(x)
        if end.bit_length() + exponent < -bits:
            # x - x^2/2 < log(1 + x) < x
            low = x - x * x / 2
            return self._iv.mpf([low.a, x.b])
        with self.precision(2 * bits + 8):
            return self._iv.log(1 + x)

    def endpoints(self, x: Any) -> Endpoints:
        ends = []
        for sign, man, exponent, _ in x._mpi_:
            if man == 0 and exponent != 0:
                raise ArithmeticError(f"mpmath: expected a finite interval; got {x}")
            ends.append((-int(man) if sign else int(man), int(exponent)))
        return _aligned(*ends[0], *ends[1])


def _aligned(a: int, ea: int, b: int, eb: int) -> Endpoints:
    """The ends a * 2**ea and b * 2**eb with one exponent."""
    if a == 0 or b == 0:
        return a, b, ea if b == 0 else eb
    if abs(ea - eb) > _WIDEST_GAP:
        # Ends of very different magnitude: widen, so that no huge shift is made
        e = max(ea, eb)
        low, high = (a, -(-b >> min(e - eb, 1 << 20))) if ea == e else (a >> (e - ea), b)
        return low, high, e
    e = min(ea, eb)
    return a << (ea - e), b << (eb - e), e


Engine = ArbEngine | MpmathEngine


@cache
def default_engine() -> Engine:
    """Arb where python-flint is installed, else mpmath: slower, and as rigorous."""
    try:
        return ArbEngine()
    except ImportError:
        return MpmathEngine()
