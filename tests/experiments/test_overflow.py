"""Thresholds by bisection, against values known exactly, and the map's outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from contexts import MakeContext

from harness.experiments import overflow
from harness.experiments.judgement import half_of_the_digits
from harness.experiments.overflow import ThresholdProber, events_of, probe_rows
from harness.experiments.profiles import SMOKE
from harness.numerics.bisection import first_true
from harness.numerics.exact import Exact
from harness.numerics.formats import FORMATS, float_format, from_ordinal, to_ordinal
from harness.records import OverflowRecord
from harness.reference import softmax_exact

STABLE = "e = np.exp(x - x.max(axis, keepdims=True)); return e / e.sum(axis, keepdims=True)"


def thresholds(context: Any, dtype: str) -> dict[tuple[Any, ...], OverflowRecord]:
    profile = replace(context.profile, dtypes=(dtype,), map_classes=())
    context.profile = profile
    records = [r for unit in overflow.plan(context) for r in unit.measure()]
    return {(r.implementation, r.probe, r.sign, r.event): r for r in records}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", 88.72283172607422),
        ("float64", 709.782712893384),
        ("float16", 11.0859375),
    ],
)
def test_last_finite_logit_of_naive(make_context: MakeContext, dtype: str, expected: float) -> None:
    found = thresholds(make_context(["naive"]), dtype)
    record = found["naive", "dominant", 1, "nonfinite"]
    assert record.status == "ok"
    assert record.last_good == expected
    fmt = float_format(dtype)
    good = int(to_ordinal(np.array(record.last_good, dtype=fmt.dtype)))
    assert record.first_bad == float(from_ordinal(good + 1, fmt))
    # The same from first principles: e**t rounds to a finite value, and its neighbour does not.
    beyond = mpmath.mpf(fmt.max) * (1 + mpmath.mpf(2) ** (-fmt.precision - 1))
    assert mpmath.exp(mpmath.mpf(record.last_good)) < beyond


def test_a_stable_softmax_never_overflows(make_context: MakeContext) -> None:
    found = thresholds(make_context(["max_shift"]), "float32")
    events = [r for key, r in found.items() if key[3] == "nonfinite"]
    assert [r.occurs for r in events] == [False] * 4
    assert all(r.status == "ok" for r in found.values())


def test_naive_underflows_to_nothing_on_negative_ties(make_context: MakeContext) -> None:
    record = thresholds(make_context(["naive"]), "float32")["naive", "tie", -1, "nonfinite"]
    assert record.occurs
    # 0/0 as soon as exp rounds to zero: below ln(2**-150)
    assert record.first_bad is not None
    assert record.first_bad == pytest.approx(math.log(2.0**-150), rel=1e-6)


def test_log_sum_exp_loses_accuracy_with_the_offset(make_context: MakeContext) -> None:
    found = thresholds(make_context(["log_sum_exp", "max_shift"]), "float32")
    lost = found["log_sum_exp", "tie", 1, "inaccurate"]
    assert lost.occurs
    assert lost.tolerance_ulp == 4096.0
    assert not found["max_shift", "tie", 1, "inaccurate"].occurs


def test_the_map_tells_naive_from_stable(make_context: MakeContext) -> None:
    profile = replace(SMOKE, dtypes=("float32",), map_offsets=(100.0,), map_classes=(10,))
    context = make_context(["naive", "max_shift"], profile)
    unit = next(u for u in overflow.plan(context) if "map" in u.label)
    found = {(r.implementation, r.offset): r for r in unit.measure()}  # type: ignore[attr-defined]
    assert found["naive", 100.0].outcome == "nan"  # type: ignore[attr-defined]
    assert found["naive", 100.0].status == "failed"
    assert found["naive", 0.0].outcome in ("exact", "accurate")  # type: ignore[attr-defined]
    for offset in (-100.0, 0.0, 100.0):
        assert found["max_shift", offset].status == "ok"


def test_what_a_unit_announces_is_what_it_measures(make_context: MakeContext) -> None:
    context = make_context(["naive"], replace(SMOKE, dtypes=("float32",)))
    for unit in overflow.plan(context):
        measured = list(unit.measure())
        from harness.records.reader import cell_key

        assert tuple(cell_key(r) for r in measured) == unit.keys


def test_a_crash_becomes_rows_with_a_reason(
    make_context: MakeContext, plain_file: Callable[[str, str], Path]
) -> None:
    context = make_context([plain_file("dies", "os.abort()")])
    found = thresholds(context, "float32")
    assert len(found) == 12
    assert {r.status for r in found.values()} == {"crashed"}
    assert all("SIGABRT" in str(r.reason) for r in found.values())


def test_a_result_that_depends_on_the_batch_is_flagged(
    make_context: MakeContext, plain_file: Callable[[str, str], Path]
) -> None:
    body = (
        f"big = x.shape[0] > 1 and x[:, 0].max() > 50\n    "
        f"y = (lambda x: ({STABLE.split('; ')[0].replace('e = ', '')}))(x)\n    "
        "y = y / y.sum(axis, keepdims=True)\n    "
        "return np.where(big & (x[..., :1] > 50), np.nan, y).astype(x.dtype)"
    )
    found = thresholds(make_context([plain_file("batchy", body)]), "float32")
    record = found["batchy", "dominant", 1, "nonfinite"]
    assert record.status == "failed"
    assert "depends on the rows beside it" in str(record.reason)


class Planted(ThresholdProber):
    """A prober whose event begins at a planted ordinal."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.calls = 0

    def events(self, magnitudes: Any) -> Any:
        self.calls += 1
        return {"zero": magnitudes >= self.start}


@pytest.mark.parametrize("start", [1, 2, 12345, 2**40 + 1, 2**62 - 1])
@pytest.mark.parametrize("points", [1, 2, 512])
def test_first_bad_finds_the_planted_ordinal(start: int, points: int) -> None:
    prober = Planted(start)
    found = first_true(lambda o: prober.events(o)["zero"], 0, 2**62, points)
    assert found == (start - 1, start)


def test_events_on_known_wrong_outputs() -> None:
    x = probe_rows(np.array([1.0, 1.0, 1.0, 1.0, 200.0], dtype=np.float32), "dominant")
    exact = softmax_exact(x)
    y = exact.round_to("float32")
    y[1, 0] = np.nan
    y[2, 1] = 0.0
    y[3, 0] *= np.float32(0.99)
    found = events_of(y, exact, FORMATS["float32"])
    assert found["nonfinite"].tolist() == [False, True, False, False, False]
    assert found["zero"].tolist() == [False, False, True, False, False]
    # A zero is inaccurate too; the last row's exact zero is neither.
    assert found["inaccurate"].tolist() == [False, False, True, True, False]


def test_tolerance_is_half_of_the_digits() -> None:
    assert half_of_the_digits(FORMATS["float32"]) == 2.0**12


def test_probe_rows() -> None:
    t = np.array([2.0], dtype=np.float16)
    assert probe_rows(t, "dominant").tolist() == [[2.0, 0.0]]
    assert probe_rows(t, "tie").tolist() == [[2.0, 2.0]]
    assert isinstance(softmax_exact(probe_rows(t, "tie")), Exact)
