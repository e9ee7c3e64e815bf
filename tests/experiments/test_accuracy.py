"""The accuracy experiment: the verdicts, on implementations known to be right and wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contexts import MakeContext

from harness.experiments import accuracy
from harness.experiments.profiles import SMOKE
from harness.records import AccuracyRecord
from harness.records.reader import cell_key

Write = Callable[[str, str], Path]
EXP = "e = np.exp(x - x.max(axis, keepdims=True))"
WRONG = {
    "zeros": "return np.zeros_like(x)",
    "uniform": "return np.full_like(x, 1 / x.shape[axis])",
    "wrong_axis": "e = np.exp(x - x.max(0, keepdims=True)); return e / e.sum(0, keepdims=True)",
    "rough_exp": f"{EXP} * x.dtype.type(1.0001); e[..., 0] *= x.dtype.type(1.0001); "
    "return e / e.sum(axis, keepdims=True)",
    "double": f"{EXP}; y = e / e.sum(axis, keepdims=True); return y * y",
    "nans": "return np.full_like(x, np.nan)",
    "reversed": f"{EXP}; return (e / e.sum(axis, keepdims=True))[..., ::-1].copy()",
}
PROFILE = replace(
    SMOKE, dtypes=("float32",), sweep_classes=(10,), families=("masked(fraction=0.25)",)
)


def measured(context: Any) -> list[AccuracyRecord]:
    return [r for unit in accuracy.plan(context) for r in unit.measure()]  # type: ignore[misc]


@pytest.mark.parametrize("name", WRONG)
def test_known_wrong_implementations_fail(
    make_context: MakeContext, plain_file: Write, name: str
) -> None:
    records = measured(make_context([plain_file(name, WRONG[name])], PROFILE))
    assert {r.status for r in records} == {"failed"}
    for record in records:
        assert record.reason
        assert record.error_over_bound is not None
        assert record.error_over_bound > 1
        assert record.worst_logit is not None


def test_a_plain_correct_file_passes(make_context: MakeContext, plain_file: Write) -> None:
    body = f"{EXP}; return e / e.sum(axis, keepdims=True)"
    records = measured(make_context([plain_file("plain", body)], PROFILE))
    assert {r.status for r in records} == {"ok"}
    assert {r.bound for r in records} == {"generic"}


def test_built_in_implementations_stay_within_their_bounds(make_context: MakeContext) -> None:
    names = ["max_shift", "log_sum_exp", "online", "two_pass", "numba_cpu", "torch", "scipy"]
    profile = replace(PROFILE, families=("normal(scale=10)", "offset(offset=10000)"))
    records = measured(make_context(names, profile))
    assert [r.implementation for r in records if r.status != "ok"] == []
    assert max(r.error_over_bound or 0.0 for r in records) <= 1.0


def test_published_bounds_are_recorded_for_their_own_algorithms_within_their_assumptions(
    make_context: MakeContext,
) -> None:
    profile = replace(
        PROFILE, dtypes=("float16",), sweep_workloads=("normal(scale=1)", "normal(scale=10)"),
        families=(),
    )  # fmt: skip
    names = ["naive", "max_shift", "online", "two_pass"]
    found = {(r.implementation, r.workload): r for r in measured(make_context(names, profile))}
    assert len(found) == 2 * len(names)
    for (name, workload), record in found.items():
        overflows = name == "naive" and workload == "normal(scale=10)"
        if name in ("online", "two_pass"):
            assert record.published_bound is None
        else:
            assert record.published_bound in ("published_naive", "published_shift_divide")
        applies = record.published_bound is not None and not overflows
        assert (record.published_bound_ulp is not None) is applies, (name, workload)
        assert (record.error_over_published is None) is (record.published_bound is None)
        if name == "naive":
            assert record.error_over_published is not None
            assert math.isfinite(record.error_over_published)
        if applies and name == "naive":  # (n + 3) u; a number is 1 / (2 u) to 1 / u of its ulps
            assert 13 / 2 < (record.published_bound_ulp or 0) <= 13


def test_log_sum_exp_is_measurably_worse_at_large_offsets(make_context: MakeContext) -> None:
    profile = replace(PROFILE, sweep_workloads=(), families=("offset(offset=10000)",))
    found = {
        r.implementation: r for r in measured(make_context(["log_sum_exp", "max_shift"], profile))
    }
    worse, better = found["log_sum_exp"].max_ulp, found["max_shift"].max_ulp
    assert worse is not None
    assert better is not None
    assert worse > 100 * better


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("return x.astype('float64')", "failed", "expected shape"),
        ("return x[..., :1]", "failed", "expected shape"),
        ("x[...] = 0; return x.copy()", "failed", "input was modified"),
        ("return x, x", "failed", "expected one array; got 2"),
        ("raise ValueError('no')", "error", "ValueError: no"),
        ("os.abort()", "crashed", "SIGABRT"),
    ],
)
def test_a_broken_contract_is_a_row(
    make_context: MakeContext, plain_file: Write, body: str, status: str, reason: str
) -> None:
    records = measured(make_context([plain_file("broken", body)], PROFILE))
    assert records
    assert {r.status for r in records} == {status}
    assert all(reason in str(r.reason) for r in records)


def test_one_crash_leaves_the_others_alone(make_context: MakeContext, plain_file: Write) -> None:
    records = measured(make_context([plain_file("dies", "os.abort()"), "max_shift"], PROFILE))
    assert {r.status for r in records if r.implementation == "max_shift"} == {"ok"}
    assert {r.status for r in records if r.implementation == "dies"} == {"crashed"}


def test_undeclared_formats_are_unsupported_rows(make_context: MakeContext) -> None:
    records = measured(make_context(["scipy"], replace(PROFILE, dtypes=("bfloat16",))))
    assert {r.status for r in records} == {"unsupported"}
    assert all("declares" in str(r.reason) for r in records)


def test_what_a_unit_announces_is_what_it_measures(make_context: MakeContext) -> None:
    context = make_context(["max_shift", "scipy"], replace(PROFILE, dtypes=("bfloat16",)))
    for unit in accuracy.plan(context):
        assert sorted(cell_key(r) for r in unit.measure()) == sorted(unit.keys)


def test_real_logits_of_the_digits_classifier(make_context: MakeContext) -> None:
    profile = replace(PROFILE, sweep_workloads=(), families=("digits",))
    (record,) = measured(make_context(["max_shift"], profile))
    assert (record.classes, record.rows, record.status) == (10, 1797, "ok")
    assert record.input_sha256 is not None
