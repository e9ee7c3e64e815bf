"""How the report writes numbers: significant digits, thin spaces, exact thresholds."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from harness.numerics.formats import FORMATS

THIN = "\u202f"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def superscript(n: int) -> str:
    """An integer in superscript characters."""
    return str(n).translate(_SUPERSCRIPT)


def integer(n: int) -> str:
    """An integer in groups of three from 10 000 on."""
    return f"{n:,}".replace(",", THIN) if abs(n) >= 10_000 else str(n)


def figure(x: float | None, digits: int = 3) -> str:
    """`x` to `digits` significant digits; scientific below 0.001 and from 100 000 on."""
    if x is None:
        return ""
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == 0:
        return "0"
    mantissa, exponent = f"{abs(x):.{digits - 1}e}".split("e")
    power = int(exponent)
    sign = "−" if x < 0 else ""
    if power < -3 or power >= 5:
        return f"{sign}{mantissa}×10{superscript(power)}"
    decimals = digits - 1 - power
    text = f"{round(abs(x), decimals):.{max(0, decimals)}f}"
    return sign + (text if decimals > 0 else integer(int(text)))


def apart(x: float, limit: float, digits: int = 3) -> str:
    """`x` to `digits` significant digits, or as many more as tell it from `limit`."""
    while digits < 17 and x != limit and float(f"{x:.{digits - 1}e}") == limit:
        digits += 1
    return figure(x, digits)


def percent(fraction: float | None, digits: int = 3) -> str:
    """A fraction in per cent, without the sign; never rounded up to 100 or down to 0."""
    if fraction is None:
        return ""
    x = 100.0 * fraction
    if 99.95 <= x < 100:
        return ">99.9"
    if 0 < x < 0.01:
        return "<0.01"
    return "100" if x == 100 else figure(x, digits)


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """``"[low, high]"``, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{figure(low, digits)}, {figure(high, digits)}]"


def threshold(x: float | None, dtype: str | None) -> str:
    """A threshold with the digits that tell it from its neighbours in its format.

    Integers of up to eight digits and short decimals are written exactly.
    """
    if x is None:
        return ""
    if not math.isfinite(x):
        return figure(x)
    exact = repr(x)
    if len(exact.lstrip("-")) <= 10 and "e" not in exact:
        text = exact.removesuffix(".0")
    else:
        precision = FORMATS[dtype].precision if dtype is not None and dtype in FORMATS else 53
        text = f"{x:.{math.ceil(1 + precision * math.log10(2))}g}"
        if precision == 53:
            text = repr(x)  # the shortest decimal that reads back as this number
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}×10{superscript(int(exponent))}"
    return text.replace("-", "−")


def duration(ns: float | None) -> str:
    """A time given in nanoseconds, in the unit that suits it."""
    if ns is None:
        return ""
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if abs(ns) >= scale:
            return f"{figure(ns / scale)} {unit}"
    return f"{figure(ns)} ns"


def byte_count(n: float | None) -> str:
    """A number of bytes in binary units."""
    if n is None:
        return ""
    for scale, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if n >= scale:
            return f"{figure(n / scale, 4).removesuffix('.000').removesuffix('.00')} {unit}"
    return f"{n:.0f} B"


def plural(n: int, noun: str, many: str | None = None) -> str:
    """``"1 cell"``, ``"12 cells"``."""
    return f"{integer(n)} {noun if n == 1 else many or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """``"a"``, ``"a and b"``, ``"a, b and c"``."""
    return " and ".join(n for n in (", ".join(names[:-1]), names[-1]) if n)


def shorter(text: str, most: int = 60) -> str:
    """A text cut at a word where it is longer than `most` characters."""
    return textwrap.shorten(text, most, placeholder=" …")
