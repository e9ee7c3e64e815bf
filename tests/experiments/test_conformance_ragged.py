"""Cases of rows of unlike lengths: right ones pass, each wrong one fails its case."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from local_subject import LocalSubject

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Step, plain_step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.cases.ragged import CASES
from harness.experiments.conformance.expected import expected_of
from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.target import RemoteSubject
from harness.numerics.formats import float_format
from harness.records import ConformanceRecord
from harness.reference import ragged_softmax
from harness.registry.contract import RAGGED
from harness.registry.discovery import implementations, load

RIGHT = '''"""Row by row, in NumPy."""

import numpy as np


def check(values, offsets):
    if offsets.dtype.kind not in "iu":
        raise TypeError("offsets")
    if offsets[0] != 0 or offsets[-1] != len(values) or np.any(np.diff(offsets) < 0):
        raise ValueError("offsets")


def ragged_softmax(values, offsets, out=None):
    check(values, offsets)
    y = np.zeros_like(values)
    for i in range(len(offsets) - 1):
        row = values[offsets[i] : offsets[i + 1]]
        if len(row) == 0:
            continue
        with np.errstate(all="ignore"):
            m = row.max()
            e = np.exp(row - m)
            y[offsets[i] : offsets[i + 1]] = e / e.sum()
    if out is not None:
        out[...] = y
        y = out
    return y
'''
MAXIMUM, ZEROS = "m = row.max()", "y = np.zeros_like(values)"
OWN = "offsets = offsets.copy(); "
WRONG = {
    "a row ends one entry too early": ("ragged", "row = values[", OWN + "offsets[i + 1] -= i == 1\n"
                                       "        row = values["),
    "the values are written to": ("ragged", "e = np.exp(row - m)", "row -= m; e = np.exp(row)"),
    "the offsets are cleared": ("ragged", "    return y", "    offsets[:] = 0\n    return y"),
    "an empty row is not passed over": ("ragged-empty", "len(row) == 0", "False"),
    "an empty row ends the rows": ("ragged-empty", "continue", "break"),
    "an empty result is refused": ("ragged-no-entries", ZEROS, f"values[0]; {ZEROS}"),
    "one maximum for all rows": ("ragged-own-maximum", MAXIMUM, "m = values.max()"),
    "the maximum of the first row": ("ragged-own-maximum", MAXIMUM,
                                     "m = values[: max(offsets[1], 1)].max()"),
    "NaN reaches all rows": ("ragged-nan", MAXIMUM, "m = row.max() + 0 * values.min()"),
    "NaN counts as nothing": ("ragged-nan", MAXIMUM, "row = np.where(row == row, row, -np.inf); "
                              + MAXIMUM),
    "-inf counts as a large negative number": ("ragged-minus-infinity", MAXIMUM,
                                               "row = np.maximum(row, -5); " + MAXIMUM),
    "a row without a class reaches those after it": (
        "ragged-no-class", MAXIMUM, "m = row.max(); s = m if i == 0 else s; m = m + 0 * s",
    ),
    "a row without a class is of its places": (
        "ragged-no-class", MAXIMUM, "m = row.max(); row = row if m > -np.inf else "
        "np.arange(len(row)) * 1.0; m = max(m, row.max())",
    ),
    "what is no multiple of 8 loses its end": (
        "ragged-lengths", "e / e.sum()", "e / e[: len(e) // 8 * 8 or None].sum()",
    ),
    "no more than 8192 entries are added up": (
        "ragged-lengths", "e / e.sum()", "e / e[:8192].sum()",
    ),
    "a row in two shares is added up twice": (
        "ragged-uneven", "e.sum()", "(e.sum() * (1 + (offsets[i] < 65536 < offsets[i + 1])))",
    ),
    "offsets are read as int64": (
        "ragged-int32", ZEROS, f"{ZEROS}; offsets = np.frombuffer(offsets.tobytes(), np.int64)",
    ),
    "strides are ignored": (
        "ragged-layouts", ZEROS, f"{ZEROS}; values = np.lib.stride_tricks.as_strided(values, "
        "values.shape, (values.itemsize,))",
    ),
    "arrays are written to, as they were": ("ragged-layouts", ZEROS, f"{ZEROS}; offsets[:1] = 0"),
    "out= is not written": ("ragged-out", "out[...] = y", "pass"),
}  # fmt: skip


def judged(who: LocalSubject, dtype: str = "float32", *cases: str) -> list[ConformanceRecord]:
    asked = cases or tuple(c.id for c in CASES)
    return list(judge(who, RAGGED, dtype, options=Options(cases=asked, thorough=False)))


def subject(tmp_path: Path, source: str) -> LocalSubject:
    path = tmp_path / "candidate.py"
    path.write_text(source)
    return LocalSubject.from_path(path)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_right_passes(tmp_path: Path, dtype: str) -> None:
    found = judged(subject(tmp_path, RIGHT), dtype)
    assert len(found) == len(CASES)
    assert {r.case: r.message for r in found if r.verdict != "pass"} == {}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_fails_the_case_made_for_it(tmp_path: Path, what: str) -> None:
    case, right, wrong = WRONG[what]
    assert RIGHT.count(right) == 1
    (found,) = judged(subject(tmp_path, RIGHT.replace(right, wrong)), "float32", case)
    assert found.verdict == "failure", found
    assert RAGGED in str(found.message)


def test_every_case_has_something_wrong_that_it_catches() -> None:
    findings = {"ragged-no-rows"}
    assert {case for case, *_ in WRONG.values()} | findings == {c.id for c in CASES}


CHECKED = "    check(values, offsets)\n"


def test_offsets_that_say_no_rows_and_give_numbers_are_a_finding(tmp_path: Path) -> None:
    source = RIGHT.replace(CHECKED, "    return np.zeros_like(values)\n")
    (found,) = judged(subject(tmp_path, source), "float32", "ragged-no-rows")
    assert (found.verdict, found.outcome) == ("finding", "wrong")
    assert "offsets that descend, [0, 4, 2, 6], give 0, 0, 0, 0, 0, 0" in str(found.message)
    assert found.observations == 7


def test_offsets_that_say_no_rows_must_not_lead_beyond_the_values(tmp_path: Path) -> None:
    """Written to is what a call must leave as it is; and the process must not end."""
    over = RIGHT.replace(CHECKED, "    offsets[0] = 9\n    return values.copy()\n")
    (found,) = judged(subject(tmp_path, over), "float32", "ragged-no-rows")
    assert found.verdict == "failure"
    assert "memory that is not the result's was written to" in str(found.message)
    ends = RIGHT.replace(CHECKED, "    import os\n    os._exit(3)\n")
    one = RemoteSubject(load(subject(tmp_path, ends).metadata.path))
    try:
        (found,) = judge(one, RAGGED, "float32", options=Options(cases=("ragged-no-rows",)))
    finally:
        one.stop()
    assert (found.verdict, found.outcome) == ("failure", "crashed")
    assert "offsets that descend" in str(found.message)


@pytest.mark.parametrize("fill", ["0.0", "1.0 / len(row)"])
def test_a_row_without_a_class_may_follow_another_convention(tmp_path: Path, fill: str) -> None:
    source = RIGHT.replace(MAXIMUM, f"{MAXIMUM}\n            if m == -np.inf:\n"
                           f"                y[offsets[i] : offsets[i + 1]] = {fill}\n"
                           f"                continue")  # fmt: skip
    (found,) = judged(subject(tmp_path, source), "float32", "ragged-no-class")
    assert found.verdict == "finding"


OFFER = [n for n, i in implementations().items() if RAGGED in i.operations]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", OFFER)
def test_implementations_pass(name: str, dtype: str) -> None:
    one = load(name)
    if not one.available:
        pytest.skip(str(one.unavailable_reason))
    found = judged(LocalSubject.from_path(one.metadata.path), dtype)
    assert {
        r.case: r.message for r in found if r.verdict not in ("pass", "expected", "skipped")
    } == {}


def test_a_failure_is_told_by_its_row_and_a_line_that_shows_it(tmp_path: Path) -> None:
    case, right, wrong = WRONG["what is no multiple of 8 loses its end"]
    who = subject(tmp_path, RIGHT.replace(right, wrong))
    (found,) = judged(who, "float32", case)
    assert found.case_input is not None
    assert 8 < len(found.case_input) < 64
    witness = found.witness
    assert witness is not None
    values, call = witness.text.split("  # ")[0].split("; ")
    assert re.match(r"ragged_softmax\(values, np.array\(\[0, \d+\]\)\)\[\d+\]$", call)
    names = {"np": np, RAGGED: who.implementation.module().ragged_softmax}
    exec(values, names)
    value = eval(call, names)
    assert float(witness.got) == pytest.approx(float(value), rel=0.01)


def test_a_worker_gives_the_same_verdicts(tmp_path: Path) -> None:
    near = subject(tmp_path, RIGHT)
    far = RemoteSubject(load(near.metadata.path))
    options = Options(cases=tuple(c.id for c in CASES), thorough=False)
    try:
        found = list(judge(far, RAGGED, "float32", options=options))
    finally:
        far.stop()
    assert found == judged(near)


def test_what_is_expected_is_what_each_row_is_alone() -> None:
    fmt, x = float_format("float32"), np.float32([1, 2, 3, np.nan, 0, -np.inf, 5])
    offsets = np.array([0, 2, 2, 3, 5, 6, 7])
    (due,) = expected_of(Step(RAGGED, (x, offsets), "default"), fmt, Arithmetic())
    np.testing.assert_array_equal(due.rounded, ragged_softmax(x, offsets))
    assert due.free.tolist() == [False] * 5 + [True, False]
    (one,) = expected_of(Step("softmax", (x[:2],)), fmt, Arithmetic())
    assert due.allowed[:2].tolist() == one.allowed[0].tolist()


def test_a_step_that_asks_for_nothing_in_particular_is_complete(tmp_path: Path) -> None:
    who = subject(tmp_path, RIGHT)
    trial = Trial(who, "x", None, RAGGED, "float16", Arithmetic())
    step = plain_step(RAGGED, (2, 3), trial.fmt.dtype)
    (result,) = who.perform([step])
    assert trial.observe(step, result).grade == "pass"
