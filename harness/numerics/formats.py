"""Number formats: precision, unit roundoff, spacing, ordinals and correct rounding.

All of it holds for every binary floating-point format. Exact values are unevaluated sums
``(hi + lo) * 2**exponent`` (see `exact`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format.

    Attributes:
        name: canonical name, as records spell it (``"float32"``).
        dtype: NumPy dtype of its arrays (an ml_dtypes one for bfloat16 and float8).
        precision: significand bits p, the implicit one included.
        emin: exponent of the smallest normal number, 2**emin.
        emax: exponent of the largest binade, 2**emax.
        max: largest finite value.
        has_inf: False where overflow gives NaN (float8_e4m3fn).
    """

    name: str
    dtype: np.dtype[Any]
    precision: int
    emin: int
    emax: int
    max: float
    has_inf: bool = True

    @property
    def unit_roundoff(self) -> float:
        """u = 2**-p, the largest relative error of rounding to nearest."""
        return float(2.0**-self.precision)

    @property
    def smallest_normal(self) -> float:
        return float(2.0**self.emin)

    @property
    def smallest_subnormal(self) -> float:
        """The spacing of the subnormal numbers, 2**(emin - p + 1)."""
        return float(np.ldexp(1.0, self.emin - self.precision + 1))

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize


def _format(name: str, scalar: type, precision: int, emin: int, emax: int) -> FloatFormat:
    info = ml_dtypes.finfo(scalar)
    dtype = np.dtype(scalar)
    has_inf = name != "float8_e4m3fn"
    return FloatFormat(name, dtype, precision, emin, emax, float(info.max), has_inf)


FORMATS: Mapping[str, FloatFormat] = {
    f.name: f
    for f in (
        _format("float64", np.float64, 53, -1022, 1023),
        _format("float32", np.float32, 24, -126, 127),
        _format("float16", np.float16, 11, -14, 15),
        _format("bfloat16", ml_dtypes.bfloat16, 8, -126, 127),
        _format("float8_e4m3fn", ml_dtypes.float8_e4m3fn, 4, -6, 8),
        _format("float8_e5m2", ml_dtypes.float8_e5m2, 3, -14, 15),
    )
}


def float_format(dtype: DTypeLike | FloatFormat) -> FloatFormat:
    """The format of a dtype, a dtype's name, or a format itself.

    Raises:
        TypeError: for a dtype that is none of `FORMATS`.
    """
    if isinstance(dtype, FloatFormat):
        return dtype
    if isinstance(dtype, str) and dtype in FORMATS:
        return FORMATS[dtype]
    wanted = np.dtype(dtype)
    for candidate in FORMATS.values():
        if candidate.dtype == wanted:
            return candidate
    raise TypeError(f"dtype: expected one of {', '.join(FORMATS)}; got {wanted.name}")


def to_float64(x: ArrayLike) -> Float64Array:
    """`x`, of any format of `FORMATS`, lifted to float64; exact for every one of them.

    Raises:
        TypeError: for another dtype (integers and longdouble do not all fit in float64).
    """
    array = np.asarray(x)
    float_format(array.dtype)
    return array.astype(np.float64)


def binade(hi: ArrayLike, lo: ArrayLike = 0.0, exponent: ArrayLike = 0) -> NDArray[np.int64]:
    """floor(log2(abs((hi + lo) * 2**exponent))), elementwise.

    `hi` must be the value rounded to nearest, so that only a power of two with a remainder
    towards zero needs correcting. Zeros and non-finite values give an unspecified integer.
    """
    hi_ = np.asarray(hi, dtype=np.float64)
    lo_ = np.asarray(lo, dtype=np.float64)
    mantissa, e = np.frexp(hi_)
    below = np.abs(mantissa) == 0.5
    if below.any():
        below = below & (np.sign(lo_) * np.sign(hi_) < 0)
    return np.asarray(e.astype(np.int64) - 1 - below + np.asarray(exponent), dtype=np.int64)


def quantum_exponent(
    fmt: FloatFormat, hi: ArrayLike, lo: ArrayLike = 0.0, exponent: ArrayLike = 0
) -> NDArray[np.int64]:
    """q such that one ulp of the exact value (hi + lo) * 2**exponent is 2**q in `fmt`.

    max(floor(log2(abs(y))), emin) - p + 1: flat in the subnormal range, and for zero
    (J.-M. Muller, "On the definition of ulp(x)", INRIA RR-5504, 2005).
    """
    e = binade(hi, lo, exponent)
    e = np.where(np.asarray(hi) == 0, fmt.emin, e)
    return np.asarray(np.maximum(e, fmt.emin) - fmt.precision + 1, dtype=np.int64)


def ulp(y: ArrayLike, fmt: DTypeLike | FloatFormat) -> Float64Array:
    """One unit in the last place of `fmt` at the float64 value(s) `y` (0: as for subnormals)."""
    return np.ldexp(1.0, quantum_exponent(float_format(fmt), y).astype(np.int32))


def scale_by_power(x: ArrayLike, exponent: ArrayLike) -> Float64Array:
    """x * 2**exponent; exact unless the result leaves the normal range of float64."""
    power, values = np.asarray(exponent), np.asarray(x, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        if power.size and power.min() >= -1022 and power.max() <= 1023:
            # 2**exponent is a number itself, and a product is rounded once as well.
            bits = (power.astype(np.int64) + 1023) << 52
            return np.asarray(values * bits.view(np.float64))
        return np.asarray(np.ldexp(values, np.clip(power, -5000, 5000).astype(np.int32)))


def round_pair(
    hi: ArrayLike, lo: ArrayLike, exponent: ArrayLike, fmt: DTypeLike | FloatFormat
) -> NDArray[Any]:
    """(hi + lo) * 2**exponent rounded once to `fmt`, to nearest, ties to even.

    The sum is exact and unevaluated: there is no double rounding, not even in the subnormal
    range. `hi` must equal hi + lo rounded to float64. Beyond the largest finite value the
    result is infinite (NaN where the format has no infinity); NaN and infinities in `hi` pass.

    Returns:
        An array of `fmt`'s dtype, of the broadcast shape.
    """
    fmt = float_format(fmt)
    hi_, lo_, exponent_ = np.broadcast_arrays(
        np.asarray(hi, dtype=np.float64),
        np.asarray(lo, dtype=np.float64),
        np.asarray(exponent, dtype=np.int64),
    )
    finite = np.isfinite(hi_)
    h = np.where(finite, hi_, 0.0)
    low = np.where(finite, lo_, 0.0)
    q = quantum_exponent(fmt, h, low, exponent_)
    a = scale_by_power(h, exponent_ - q)
    b = scale_by_power(low, exponent_ - q)
    floor = np.floor(a)
    fraction = a - floor  # exact: abs(a) <= 2**53
    over_half = (fraction - 0.5) + b  # its sign is exact
    odd = np.fmod(floor, 2.0) != 0
    up = (over_half > 0) | ((over_half == 0) & odd)
    # hi an exact integer and lo below it by half a quantum: only just under a power of two
    under_half = (fraction + 0.5) + b
    down = (under_half < 0) | ((under_half == 0) & odd)
    rounded = floor + up - down
    value = np.copysign(scale_by_power(rounded, q), h)
    # One quantum above the largest finite value stands for everything that rounds beyond it.
    overflow = np.abs(value) > fmt.max
    beyond = np.copysign(np.inf if fmt.has_inf else np.nan, value)
    value = np.where(overflow, beyond, value)
    value = np.where(finite, value, hi_)
    with np.errstate(over="ignore", invalid="ignore"):
        return value.astype(fmt.dtype)


def _signed_view(x: NDArray[Any], fmt: FloatFormat) -> NDArray[np.int64]:
    return np.ascontiguousarray(x).view(f"i{fmt.dtype.itemsize}").astype(np.int64)


def to_ordinal(x: ArrayLike, dtype: DTypeLike | FloatFormat | None = None) -> NDArray[np.int64]:
    """Order-preserving integers: neighbours in the format differ by one; both zeros are 0.

    NaN has no place in the order; its ordinal is unspecified.
    """
    array = np.asarray(x) if dtype is None else np.asarray(x).astype(float_format(dtype).dtype)
    fmt = float_format(array.dtype)
    bits = _signed_view(array, fmt).reshape(array.shape)
    lowest = -(1 << (fmt.bits - 1))
    return np.where(bits < 0, lowest - bits, bits)


def from_ordinal(ordinal: ArrayLike, dtype: DTypeLike | FloatFormat) -> NDArray[Any]:
    """The inverse of `to_ordinal` (0 gives +0)."""
    fmt = float_format(dtype)
    o = np.asarray(ordinal, dtype=np.int64)
    lowest = -(1 << (fmt.bits - 1))
    bits = np.where(o < 0, lowest - o, o)
    integers = np.ascontiguousarray(bits.astype(f"i{fmt.dtype.itemsize}"))
    return integers.view(fmt.dtype).reshape(o.shape)


def to_hex(value: Any) -> str:
    """A value of any format as a C99 hexadecimal string, exactly (``float.hex`` of it)."""
    return float(value).hex()


def from_hex(text: str, dtype: DTypeLike | FloatFormat = "float64") -> Any:
    """The inverse of `to_hex`, as a scalar of `dtype`."""
    return float_format(dtype).dtype.type(float.fromhex(text))
