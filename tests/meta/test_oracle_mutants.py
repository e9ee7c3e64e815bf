"""The audit must catch a broken oracle: each mutant here is one that somebody has shipped."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import reference_audit

from harness import reference
from harness.numerics.exact import Exact
from harness.numerics.formats import FORMATS, round_pair

_RNG = np.random.default_rng(5)
ROWS = [(_RNG.normal(size=40) * scale).tolist() for scale in (0.1, 1.0, 5.0, 20.0)] * 2
ROWS += [(_RNG.normal(size=40) * 8).tolist() for _ in range(12)]

Oracle = Callable[[np.ndarray, str], np.ndarray]


def _correct(x: np.ndarray, name: str) -> np.ndarray:
    return reference.softmax(x, dtype=name)


def _inverted_flag(x: np.ndarray, name: str) -> np.ndarray:
    e = reference.softmax_exact(x)
    return round_pair(e.hi, -e.lo, e.exponent, name)


def _lo_dropped(x: np.ndarray, name: str) -> np.ndarray:
    e = reference.softmax_exact(x)
    return round_pair(np.nextafter(e.hi, e.hi + e.lo * 2**53), 0.0, e.exponent, name)


def _rounded_twice(x: np.ndarray, name: str) -> np.ndarray:
    if not name.startswith("float8"):
        return _correct(x, name)
    return reference.softmax(x, dtype="float16").astype(FORMATS[name].dtype)


def _through_float32(x: np.ndarray, name: str) -> np.ndarray:
    if name != "bfloat16":
        return _correct(x, name)
    bits = np.asarray(reference.softmax(x, dtype="float32")).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(ml_dtypes.bfloat16)


def _float64_arithmetic(x: np.ndarray, name: str) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)).astype(FORMATS[name].dtype)


def _flushes(x: np.ndarray, name: str) -> np.ndarray:
    result = _correct(x, name)
    return np.where(
        np.abs(result.astype(np.float64)) < FORMATS[name].smallest_normal, 0, result
    ).astype(result.dtype)


def _wrong_dtype(x: np.ndarray, name: str) -> np.ndarray:
    return reference.softmax(x, dtype="float64")


MUTANTS: dict[str, Oracle] = {
    "inverted flag": _inverted_flag,
    "one ulp towards lo": _lo_dropped,
    "double rounding": _rounded_twice,
    "bfloat16 truncated from float32": _through_float32,
    "float64 arithmetic": _float64_arithmetic,
    "flushes subnormals": _flushes,
    "wrong dtype": _wrong_dtype,
    "unshifted index": lambda x, name: np.roll(_correct(x, name), 1, axis=-1),
}


def test_the_oracle_passes_its_audit() -> None:
    assert not reference_audit.audit_rounding("softmax", _correct, ROWS)


@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_broken_oracle_is_caught(name: str) -> None:
    if name == "inverted flag":
        # A wrong sign of lo shows where hi is a midpoint of the format, or in the exact value
        assert _relative_error(lambda e: Exact(e.hi, -e.lo, e.exponent)) > 2.0**-60
        return
    assert reference_audit.audit_rounding("softmax", MUTANTS[name], ROWS)


def _relative_error(mutate: Callable[[Exact], Exact]) -> float:
    def oracle(x: np.ndarray) -> Exact:
        return mutate(reference.softmax_exact(x))

    return reference_audit.worst_relative_error("softmax", oracle, ROWS[:4])


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        ("no lo", lambda e: Exact(e.hi, 0 * e.lo, e.exponent)),
        ("lo in float32", lambda e: Exact(e.hi, e.lo.astype(np.float32) * 1.0, e.exponent)),
        ("exponent off by one", lambda e: Exact(e.hi, e.lo, e.exponent + 1)),
    ],
)
def test_a_pair_without_its_digits_is_caught(name: str, mutate: Callable[[Exact], Exact]) -> None:
    assert _relative_error(lambda e: e) < 2.0**-96
    assert _relative_error(mutate) > 2.0**-90


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (Fraction(1, 2**25), "float16", 0.0),
        (Fraction(3, 2**25), "float16", 2.0**-23),
        (1 + Fraction(1, 2**8), "bfloat16", 1.0),
        (1 + Fraction(1, 2**8) + Fraction(1, 2**60), "bfloat16", 1 + 2.0**-7),
        (Fraction(65519), "float16", 65504.0),
        (Fraction(65520), "float16", float("inf")),
        (-Fraction(1, 3), "float32", float(np.float32(-1 / 3))),
        (Fraction(464), "float8_e4m3fn", 448.0),
    ],
)
def test_the_second_opinions_rounding(value: Fraction, name: str, expected: Any) -> None:
    assert reference_audit.round_rational(value, name) == expected


@pytest.mark.parametrize("name", list(FORMATS))
def test_both_roundings_agree(name: str) -> None:
    rng = np.random.default_rng(9)
    hi = rng.normal(size=2000) * 2.0 ** rng.integers(-160, 20, 2000)
    with np.errstate(over="ignore"):
        hi[::3] = hi[::3].astype(FORMATS[name].dtype).astype(np.float64)
    hi = np.where(np.isfinite(hi), hi, 1.0)
    lo = np.spacing(hi) * rng.choice([0.0, 0.25, -0.25, 1e-9], 2000)
    got = round_pair(hi, lo, 0, name).astype(np.float64)
    expected = [
        reference_audit.round_rational(Fraction(h) + Fraction(e), name)
        for h, e in zip(hi, lo, strict=True)
    ]
    assert np.array_equal(got, expected, equal_nan=True)
