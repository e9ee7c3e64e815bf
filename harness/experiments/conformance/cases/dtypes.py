"""Input that is no native format: integers, booleans, complex, other byte order (42 to 50)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness import reference
from harness.experiments.conformance.call import Step
from harness.experiments.conformance.case import ELEMENTWISE, OF_LOGITS, Case, Judge
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.expected import first_beyond
from harness.experiments.conformance.observation import Grade, Observation, Skip
from harness.numerics.formats import to_float64

_TOLERANCE = 2.0**-18  # relative: these cases ask which answer comes, not how accurate it is


def _tolerance(dtype: str) -> tuple[float, float]:
    """The relative error that is let pass in a result's dtype, and the least size it is of."""
    if "float8" in dtype:
        return 2.0**-2, 2.0**-5
    return (2.0**-6 if "16" in dtype else _TOLERANCE), 1e-3


def _classed(
    trial: Trial, values: Sequence[float], cast: str, keywords: Mapping[str, Any] | None = None,
    grade: Grade = "finding",
) -> list[Observation]:  # fmt: skip
    """The outcome on values converted to `cast`: a refusal passes, a wrong answer has `grade`."""
    given = (np.array(values, np.float64),)
    step = Step(trial.operation, given, cast=cast, keywords=keywords or {})
    (result,) = trial.perform([step])
    if result.not_made is not None:
        raise Skip(result.not_made)
    if result.error is not None:
        return [Observation("pass", "raises", f"{cast}: raised {result.error}")]
    lifted = np.array(values, np.float64).astype(np.dtype(cast)).real.astype(np.float64)
    right = getattr(reference, trial.operation)(lifted)
    got = np.asarray(result.arrays[0])
    if got.shape != right.shape or (got.dtype.kind not in "fV" and str(got.dtype) != "bfloat16"):
        text = f"{cast} gives {result.dtypes[0]} {got.shape}"
        return [trial.broken(step, text, "wrong", grade)]
    y = to_float64(got) if got.dtype.kind != "c" else got
    tolerance, least = _tolerance(result.dtypes[0])
    y, right = np.atleast_1d(y), np.atleast_1d(right)
    place = first_beyond(y, right, tolerance * np.maximum(np.abs(right), least))
    if place is None:
        return [Observation("pass", "accurate", f"{cast} gives {result.dtypes[0]}")]
    note = f"input {cast} {list(values)}, result {result.dtypes[0]}"
    name = f"out[{place[0]}]"
    return [trial.unlike(step, name, lifted, y[place], right[place], note=note, grade=grade)]


def converted(
    *inputs: tuple[str, Sequence[float]], keywords: Mapping[str, Any] | None = None,
    grade: Grade = "finding",
) -> Judge:  # fmt: skip
    """The judge of a case that asks for the outcome on values of some dtypes."""

    def judge(trial: Trial) -> Iterator[Observation]:
        for cast, values in inputs:
            yield from _classed(trial, values, cast, keywords, grade)

    return judge


def long_double(trial: Trial) -> Sequence[Observation]:
    if np.dtype(np.longdouble).itemsize == 8:
        raise Skip("longdouble is float64 on this machine")
    return _classed(trial, [0.0, 1.0, 2.0, 2000.0], "longdouble")


def float8(trial: Trial) -> Iterator[Observation]:
    """Both 8-bit formats; in e4m3fn the difference of the extremes has no number, but NaN."""
    for cast, largest in (("float8_e4m3fn", 448.0), ("float8_e5m2", 57344.0)):
        yield from _classed(trial, [0.0, 1.0, 2.0, -3.0], cast)
        if trial.operation == "softmax":
            yield from _classed(trial, [largest, 0.0, -largest], cast)


signed_bytes = converted(("int8", [-128, 127]), ("int8", [-100, 100, 0]))
unsigned_bytes = converted(("uint8", [0, 1, 1]), ("uint8", [0, 255]))
integers = converted(
    *((c, [0, 1, 3, 2]) for c in ("int16", "int32", "int64", "uint16", "uint32", "uint64")),
    ("int16", [-30000, 30000]),
)
booleans = converted(("bool", [True, False, True]))
complexes = converted(("complex64", [0.0, 1.0, 2.0]))
cast_first = converted(
    ("int8", [-128, 127]), ("uint8", [0, 1, 1]), ("int32", [0, 1, 3, 2]),
    keywords={"dtype": "float32"},
)  # fmt: skip
"""Integers whose differences wrap, where the signature has ``dtype``."""
other_order = converted(
    *((order, [0.0, 1.0, 2.0, -3.0]) for order in (">f4", ">f8")), grade="failure"
)

_ONCE = ("float32",)
CASES = (
    Case("42-int8", 42, "int8 [-128, 127]: [0, 1]", signed_bytes, ELEMENTWISE, _ONCE,
         kind="finding", deviations=("integers",)),
    Case("43-uint8", 43, "uint8 [0, 1, 1]: finite", unsigned_bytes, ELEMENTWISE, _ONCE,
         kind="finding", deviations=("integers",)),
    Case("44-integers", 44, "integers (result dtype: 46 too)", integers, ELEMENTWISE, _ONCE,
         kind="finding", deviations=("integers",)),
    Case("45-bool", 45, "booleans", booleans, ELEMENTWISE, _ONCE, kind="finding"),
    Case("47-complex", 47, "complex", complexes, ELEMENTWISE, _ONCE, kind="finding"),
    Case("48-longdouble", 48, "longdouble", long_double, ELEMENTWISE, _ONCE, kind="finding"),
    Case("49-float8", 49, "float8", float8, ELEMENTWISE, _ONCE, kind="finding"),
    Case("50-dtype-argument", 50, "a dtype argument must cast before the maximum is taken",
         cast_first, ELEMENTWISE, _ONCE, kind="finding"),
    Case("byte-order", None, "the other byte order, or an exception", other_order, OF_LOGITS,
         _ONCE),
)  # fmt: skip
