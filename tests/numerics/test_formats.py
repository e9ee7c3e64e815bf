"""Number formats: spacing, ordinals and rounding, against values known by other means."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.numerics.formats import (
    FORMATS,
    FloatFormat,
    binade,
    float_format,
    from_hex,
    from_ordinal,
    round_pair,
    scale_by_power,
    to_float64,
    to_hex,
    to_ordinal,
    ulp,
)

NAMES = list(FORMATS)
SMALL = [n for n in NAMES if FORMATS[n].bits <= 16]


@pytest.mark.parametrize("name", NAMES)
def test_format_agrees_with_finfo(name: str) -> None:
    fmt = FORMATS[name]
    info = ml_dtypes.finfo(fmt.dtype)
    assert fmt.max == float(info.max)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert 2 * fmt.unit_roundoff == float(info.eps)


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(TypeError, match="expected one of float64"):
        float_format(np.int32)


def test_integers_are_not_lifted() -> None:
    with pytest.raises(TypeError, match="got int64"):
        to_float64([1, 2])


@pytest.mark.parametrize("name", SMALL)
def test_ordinals_number_every_finite_value_in_order(name: str) -> None:
    fmt = FORMATS[name]
    top = int(to_ordinal(np.array(fmt.max, dtype=fmt.dtype)))
    ordinals = np.arange(-top, top + 1)
    values = from_ordinal(ordinals, fmt)
    assert (np.diff(to_float64(values)) > 0).all()
    assert (to_ordinal(values) == ordinals).all()


def test_both_zeros_have_ordinal_zero() -> None:
    assert to_ordinal(np.array([0.0, -0.0], dtype=np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_neighbours_differ_by_one_ordinal(name: str) -> None:
    x = np.array([1.0, 1e-40, 3.5e8, -2.0], dtype=FORMATS[name].dtype)
    assert (to_ordinal(np.nextafter(x, x.dtype.type(np.inf))) - to_ordinal(x) == 1).all()


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (1.0, "float32", 2.0**-23),
        (np.nextafter(1.0, 0.0), "float32", 2.0**-24),
        (0.0, "float32", 2.0**-149),
        (1e-45, "float32", 2.0**-149),
        (2.0**-126, "float32", 2.0**-149),
        (2.0**-125, "float32", 2.0**-148),
        (1.0, "float64", 2.0**-52),
        (1.0, "bfloat16", 2.0**-7),
        (0.3, "float16", 2.0**-12),
    ],
)
def test_ulp(value: float, name: str, expected: float) -> None:
    assert ulp(value, name) == expected


def test_binade_of_a_value_just_below_a_power_of_two() -> None:
    assert binade(1.0, -1e-20) == -1
    assert binade(1.0, 1e-20) == 0
    assert binade(-1.0, 1e-20) == -1


def reference_rounding(value: Fraction, fmt: FloatFormat) -> float:
    """Rounding to nearest even by exact rational arithmetic."""
    if value == 0:
        return 0.0
    magnitude = abs(value)
    e = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** e:
        e -= 1
    quantum = Fraction(2) ** (max(e, fmt.emin) - fmt.precision + 1)
    rounded = round(magnitude / quantum) * quantum  # Fraction's round is to even
    result = float("inf") if rounded > Fraction(fmt.max) else float(rounded)
    if np.isinf(result) and not fmt.has_inf:
        return float("nan")
    return result if value > 0 else -result


doubles = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e60, max_value=1e60)


@given(hi=doubles, tail=st.floats(-0.5, 0.5), name=st.sampled_from(NAMES))
def test_pair_is_rounded_once(hi: float, tail: float, name: str) -> None:
    fmt = FORMATS[name]
    lo = float(tail * np.spacing(abs(hi))) if abs(hi) > 1e-280 else 0.0
    if hi + lo != hi:
        lo = 0.0
    got = float(round_pair(hi, lo, 0, fmt))
    expected = reference_rounding(Fraction(hi) + Fraction(lo), fmt)
    assert got == expected or (np.isnan(got) and np.isnan(expected))


@given(
    ordinal=st.integers(0, 2**15 - 1),
    nudge=st.sampled_from([-1.0, 0.0, 1.0]),
    name=st.sampled_from(["float16", "bfloat16", "float32"]),
)
def test_midpoints_go_to_even_and_a_remainder_decides(
    ordinal: int, nudge: float, name: str
) -> None:
    fmt = FORMATS[name]
    step = 1 if fmt.bits == 16 else 2**15
    low = float(from_ordinal(min(ordinal * step, 0x7B00 * step), fmt))
    high = float(np.float64(low) + float(ulp(low, fmt)))
    middle = (low + high) / 2
    lo = nudge * 2.0**-60 * middle
    got = float(round_pair(middle, lo, 0, fmt))
    assert got == reference_rounding(Fraction(middle) + Fraction(lo), fmt)


def test_double_rounding_is_avoided_in_the_subnormal_range() -> None:
    # Just above the midpoint between 0 and the smallest float64: float(hi + lo) has lost it.
    assert round_pair(0.5, 2.0**-60, -1074, "float64") == 5e-324
    assert round_pair(0.5, 0.0, -1074, "float64") == 0.0
    assert round_pair(0.5, -(2.0**-60), -1074, "float64") == 0.0


def test_bfloat16_does_not_go_through_float32() -> None:
    # 1 + 2**-8 is a midpoint of bfloat16; 2**-40 above it is lost in float32.
    assert float(round_pair(1 + 2.0**-8 + 2.0**-40, 0.0, 0, "bfloat16")) == 1 + 2.0**-7
    assert float(np.float32(1 + 2.0**-8 + 2.0**-40)) == 1 + 2.0**-8


def test_overflow_and_special_values() -> None:
    got = round_pair([65519.99, 65520.0, np.inf, -np.inf], 0.0, 0, "float16")
    assert got.tolist() == [65504.0, np.inf, np.inf, -np.inf]
    assert np.isnan(float(round_pair(np.nan, 0.0, 0, "float16")))
    assert np.isnan(float(round_pair(1e9, 0.0, 0, "float8_e4m3fn")))


@pytest.mark.parametrize("name", SMALL)
def test_values_of_a_format_round_to_themselves(name: str) -> None:
    fmt = FORMATS[name]
    values = from_ordinal(np.arange(-0x6000 if fmt.bits == 16 else -0x70, 0x70), fmt)
    assert (round_pair(to_float64(values), 0.0, 0, fmt) == values).all()


@given(st.floats(width=32, allow_nan=False))
def test_hex_round_trip(value: float) -> None:
    assert from_hex(to_hex(np.float32(value)), "float32") == np.float32(value)


@given(st.integers(-1500, 1500), st.integers(0, 1500), st.integers(0, 2**32 - 1))
def test_scaling_is_that_of_ldexp(least: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.ldexp(rng.normal(size=40), rng.integers(-1070, 1000, 40).astype(np.int32))
    values[:5] = 0.0, -0.0, np.inf, np.nan, 5e-324
    powers = rng.integers(least, least + width + 1, 40)
    with np.errstate(all="ignore"):
        right = np.ldexp(values, powers.astype(np.int32))
    got = scale_by_power(values, powers)
    assert got.tobytes() == right.tobytes()
