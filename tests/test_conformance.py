"""Verdicts: failure, finding, expected, unexpected pass, unsupported, crashed, and the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.catalogue import CASES
from harness.catalogue.case import CaseResult, Observation, worst
from harness.catalogue.step import Result, Step
from harness.catalogue.subject import LocalSubject, RemoteSubject, SubjectFault
from harness.conformance import Options, judge, unneeded
from harness.conformance_record import ConformanceRecord, figures, status_of
from harness.discovery import Implementation
from harness.implementation import read_metadata

GOOD = """
import numpy as np

def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""
NAIVE = """
import numpy as np

{metadata}

def softmax(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)
"""
OVERFLOW = 'IMPLEMENTATION = {"deviations": ({"id": "overflow", "reason": "no shift"},)}'


def subject(tmp_path: Path, source: str) -> LocalSubject:
    path = tmp_path / "candidate.py"
    path.write_text(source)
    return LocalSubject.from_path(path)


def result_of(
    who: LocalSubject, case: str, operation: str = "softmax", dtype: str = "float32"
) -> CaseResult:
    (found,) = judge(who, operation, dtype, options=Options(cases=(case,), thorough=False))
    return found


def test_a_right_result_passes(tmp_path: Path) -> None:
    assert result_of(subject(tmp_path, GOOD), "11-overflow").verdict == "pass"


def test_an_undeclared_overflow_is_a_failure(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, NAIVE.format(metadata="")), "11-overflow")
    assert found.verdict == "failure"
    assert found.observation is not None
    assert "out[" in found.observation.message
    assert "but should be" in found.observation.message
    assert "[softmax(x, axis=" in found.observation.message
    assert "case 11]" in found.observation.message


def test_the_input_is_kept_in_hexadecimal(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, NAIVE.format(metadata="")), "14-largest")
    assert found.observation is not None
    assert found.observation.got is not None


def test_a_declared_overflow_is_expected(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, NAIVE.format(metadata=OVERFLOW)), "11-overflow")
    assert (found.verdict, found.deviation, found.reason) == ("expected", "overflow", "no shift")


def test_a_declared_deviation_that_shows_nowhere_is_unneeded(tmp_path: Path) -> None:
    who = subject(tmp_path, OVERFLOW + GOOD)
    results = [result_of(who, "11-overflow")]
    assert [d.id for d in unneeded(who.metadata.deviations, results)] == ["overflow"]
    naive = subject(tmp_path, NAIVE.format(metadata=OVERFLOW))
    assert unneeded(naive.metadata.deviations, [result_of(naive, "11-overflow")]) == []


def test_an_operation_that_is_not_offered_is_unsupported(tmp_path: Path) -> None:
    found = list(judge(subject(tmp_path, GOOD), "logsumexp", "float32"))
    assert {r.verdict for r in found} == {"unsupported"}


def test_undeclared_half_is_unsupported(tmp_path: Path) -> None:
    found = list(judge(subject(tmp_path, GOOD), "softmax", "float16"))
    assert {r.verdict for r in found} == {"unsupported"}


@pytest.mark.parametrize("case", ["42-int8", "43-uint8"])
def test_bytes_that_wrap_are_a_finding(tmp_path: Path, case: str) -> None:
    found = result_of(subject(tmp_path, GOOD), case)
    assert found.verdict == "finding"
    assert found.observation is not None
    assert found.observation.input


def test_a_saturated_logarithm_is_a_finding(tmp_path: Path) -> None:
    source = "import numpy as np\ndef log_softmax(x, axis=-1):\n"
    source += "    d = x - x.max(axis=axis, keepdims=True)\n"
    source += "    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))\n"
    found = result_of(subject(tmp_path, source), "15-saturated-log", "log_softmax")
    assert found.verdict == "finding"


def test_the_limit_at_infinity_is_another_convention(tmp_path: Path) -> None:
    source = GOOD.replace("x - x.max", "np.where(np.isposinf(x), 700, np.minimum(x, -9e3)) - x.max")
    limits = Path(__file__).parent / "meta" / "correct" / "limits_at_infinity.py"
    found = result_of(LocalSubject.from_path(limits), "5-one-infinity")
    assert found.verdict == "finding"
    assert found.observation is not None
    assert found.observation.outcome == "limit"
    assert source != GOOD


class Crashing:
    """A subject whose process dies at every request."""

    def __init__(self, who: LocalSubject) -> None:
        self.metadata = who.metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        raise SubjectFault("crashed", "killed by SIGSEGV")


def test_a_crash_is_a_failure_even_where_a_deviation_is_declared(tmp_path: Path) -> None:
    who = Crashing(subject(tmp_path, NAIVE.format(metadata=OVERFLOW)))
    (found,) = judge(who, "softmax", "float32", options=Options(cases=("11-overflow",)))
    assert found.verdict == "failure"
    assert status_of(found)[0] == "crashed"


def test_a_worker_gives_the_same_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    path.write_text(NAIVE.format(metadata=""))
    remote = RemoteSubject(Implementation(read_metadata(path)))
    options = Options(
        cases=("2-some-masked", "11-overflow", "42-int8", "36-reversed"), thorough=False
    )
    try:
        far = [(r.case.id, r.verdict) for r in judge(remote, "softmax", "float32", options=options)]
    finally:
        remote.stop()
    near = LocalSubject.from_path(path)
    assert far == [
        (r.case.id, r.verdict) for r in judge(near, "softmax", "float32", options=options)
    ]


@pytest.mark.slow
def test_a_hang_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    path.write_text("def softmax(x, axis=-1):\n    while True:\n        pass\n")
    remote = RemoteSubject(Implementation(read_metadata(path)))
    options = Options(cases=("40-default-axis",), timeout_s=2.0)
    try:
        (found,) = judge(remote, "softmax", "float32", options=options)
    finally:
        remote.stop()
    assert found.verdict == "failure"


def test_the_worst_observation_decides() -> None:
    seen = [
        Observation("pass", "exact"),
        Observation("failure", "nan"),
        Observation("finding", "wrong"),
    ]
    assert worst(seen) is seen[1]


def test_a_record_takes_every_field(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, NAIVE.format(metadata="")), "11-overflow")
    record = ConformanceRecord(implementation="candidate", workload=found.case.id, **figures(found))
    again = ConformanceRecord.model_validate_json(record.model_dump_json())
    assert again == record
    assert (record.status, record.verdict, record.number) == ("failed", "failure", 11)


def test_cases_apply_to_something() -> None:
    assert all(c.operations and c.dtypes for c in CASES)
