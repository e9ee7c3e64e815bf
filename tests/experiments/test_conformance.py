"""Verdicts: failure, finding, expected, unexpected pass, unsupported, crashed, and the records."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_subject import LocalSubject

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.case_run import Trial
from harness.experiments.conformance.catalogue import BY_ID, CASES
from harness.experiments.conformance.executor import perform_steps
from harness.experiments.conformance.expected import _evaluate, expect_all, expected_of
from harness.experiments.conformance.judge import Options, judge, planned, unneeded
from harness.experiments.conformance.observation import Observation, worst
from harness.experiments.conformance.plan import _stepped
from harness.experiments.conformance.target import RemoteSubject, SubjectFault
from harness.numerics.formats import float_format
from harness.records import ConformanceRecord
from harness.records.reader import cell_key
from harness.registry.contract import Metadata, read_metadata
from harness.registry.discovery import Implementation, load
from harness.worker import backends
from harness.worker.compiling import limit_of, may_compile
from harness.worker.isolation.scheduling import Share

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
) -> ConformanceRecord:
    (found,) = judge(who, operation, dtype, options=Options(cases=(case,), thorough=False))
    return found


def test_a_right_result_passes(tmp_path: Path) -> None:
    assert result_of(subject(tmp_path, GOOD), "11-overflow").verdict == "pass"


def test_an_undeclared_overflow_is_a_failure(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, NAIVE.format(metadata="")), "11-overflow")
    assert found.verdict == "failure"
    for part in ("out[", "but should be", "[softmax(x, axis=", "case 11]"):
        assert part in (found.message or "")


def test_the_input_is_kept_in_hexadecimal(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, NAIVE.format(metadata="")), "14-largest")
    assert found.got is not None


def test_a_declared_overflow_is_expected(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, NAIVE.format(metadata=OVERFLOW)), "11-overflow")
    assert (found.verdict, found.status, found.reason) == ("expected", "ok", None)
    assert (found.deviation, found.deviation_reason) == ("overflow", "no shift")


def test_a_declared_deviation_is_the_one_that_the_case_names_first(tmp_path: Path) -> None:
    both = OVERFLOW.replace("(", '({"id": "underflow", "reason": "0/0"}, ', 1)
    who = subject(tmp_path, NAIVE.format(metadata=both))
    assert result_of(who, "11-overflow").deviation == "overflow"
    assert result_of(who, "12-underflow").deviation == "underflow"


def test_a_declared_deviation_excuses_no_broken_contract(tmp_path: Path) -> None:
    declared = "CALLS = []\n" + OVERFLOW.replace("overflow", "stalled-sum")
    source = declared + GOOD.replace(
        "return e /", "CALLS.append(1)\n    return (1 + len(CALLS) % 2 * x.dtype.type(2e-7)) * e /"
    )
    assert result_of(subject(tmp_path, source), "53-repeatable").verdict == "failure"


def test_a_declared_deviation_that_shows_nowhere_is_unneeded(tmp_path: Path) -> None:
    who = subject(tmp_path, OVERFLOW + GOOD)
    results = [result_of(who, "11-overflow")]
    assert [d.id for d in unneeded(who.metadata.deviations, results)] == ["overflow"]
    naive = subject(tmp_path, NAIVE.format(metadata=OVERFLOW))
    assert unneeded(naive.metadata.deviations, [result_of(naive, "11-overflow")]) == []


def test_an_operation_that_is_not_offered_is_unsupported(tmp_path: Path) -> None:
    found = list(judge(subject(tmp_path, GOOD), "logsumexp", "float32"))
    assert {r.verdict for r in found} == {"unsupported"}


def test_undeclared_half_gives_findings_and_no_failure(tmp_path: Path) -> None:
    who = subject(tmp_path, NAIVE.format(metadata=""))
    found = result_of(who, "11-overflow", dtype="float16")
    assert (found.verdict, found.status) == ("finding", "ok")


def test_undeclared_half_that_is_refused_is_unsupported(tmp_path: Path) -> None:
    refusing = GOOD.replace("    e =", "    assert x.dtype.itemsize > 2, 'too narrow'\n    e =")
    found = list(judge(subject(tmp_path, refusing), "softmax", "float16"))
    assert {r.verdict for r in found} == {"unsupported"}
    assert found[0].reason == (
        "declares no format, and for float16 it raises AssertionError: too narrow"
    )


def test_a_format_beside_the_declared_ones_is_unsupported(tmp_path: Path) -> None:
    who = subject(tmp_path, 'IMPLEMENTATION = {"dtypes": ("float64",)}\n' + GOOD)
    found = list(judge(who, "softmax", "float16"))
    assert {r.reason for r in found} == {"declares float64; not float16"}


@dataclass
class Traced:
    """A subject whose library makes one program of the caller and the function."""

    who: LocalSubject
    compile: Callable[[Callable[..., Any]], Callable[..., Any]]

    @property
    def metadata(self) -> Metadata:
        return self.who.metadata

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        backend = replace(backends.get("numpy"), compile=self.compile)
        module = self.who.implementation.module()
        return perform_steps(lambda name: getattr(module, name), backend, steps)


def _lost(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: function(x) * np.float32(np.nan)


def _refuses(function: Callable[..., Any]) -> Callable[..., Any]:
    raise TypeError("cannot be traced")


@pytest.mark.parametrize(
    ("compile_", "verdict"),
    [(lambda function: function, "pass"), (_lost, "failure"), (_refuses, "skipped")],
)
def test_a_compiled_caller_must_give_what_the_rounded_product_does(
    tmp_path: Path, compile_: Callable[..., Any], verdict: str
) -> None:
    who = Traced(subject(tmp_path, GOOD), compile_)
    (found,) = judge(who, "softmax", "float32", options=Options(cases=("18-contraction",)))
    assert found.verdict == verdict
    if verdict == "failure":
        assert found.outcome == "nan"
        assert "compiled softmax(x, axis=-1) of 0.3*x" in (found.message or "")


def test_nothing_is_contracted_where_nothing_compiles_the_caller(tmp_path: Path) -> None:
    found = result_of(subject(tmp_path, GOOD), "18-contraction")
    assert found.verdict == "skipped"
    assert found.reason == "nothing traces or compiles its caller: the product is rounded"


@pytest.mark.slow
def test_numba_compiles_a_caller_of_what_it_compiled(tmp_path: Path) -> None:
    source = "import numba, numpy as np\n\n@numba.njit\ndef softmax(x, axis=-1):\n"
    source += "    e = np.exp(x - x.max())\n    return e / e.sum()\n"
    assert result_of(subject(tmp_path, source), "18-contraction").verdict == "pass"


WIDE = """
import numpy as np

def softmax(x, axis=-1):
    w = np.asarray(x, dtype=np.float64)
    e = np.exp(w - w.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
"""
BEFORE, AFTER = (
    GOOD.replace("axis=-1)", "axis=-1, dtype=None)").replace("    e =", line)
    for line in (
        "    x = x.astype(dtype or x.dtype)\n    e =",
        "    x = (x - x.max()).astype(dtype or x.dtype)\n    e =",
    )
)


@pytest.mark.parametrize(
    ("case", "source", "verdict"),
    [
        ("49-float8", GOOD, "finding"),
        ("49-float8", WIDE, "pass"),
        ("50-dtype-argument", BEFORE, "pass"),
        ("50-dtype-argument", AFTER, "finding"),
        ("50-dtype-argument", GOOD, "skipped"),
    ],
)
def test_eight_bits_and_a_dtype_argument(
    tmp_path: Path, case: str, source: str, verdict: str
) -> None:
    assert result_of(subject(tmp_path, source), case).verdict == verdict


IGNORING = """
import numpy as np

def cross_entropy(logits, targets{argument}):
    kept = targets != -100
    x = np.where(kept[:, None], logits, 0).astype(logits.dtype)
    d = x - x.max(axis=-1, keepdims=True)
    e = np.exp(d)
    s = e.sum(axis=-1, keepdims=True)
    p = e / s
    rows, t = np.arange(len(x)), np.where(kept, targets, 0)
    loss = np.log(s)[:, 0] - d[rows, t]
    p[rows, t] -= 1
    {end}
    return loss, p
"""
ARGUMENT = ", ignore_index=-1"
RIGHT, LOST = "loss[~kept] = 0; p[~kept] = 0", "loss[~kept] = np.nan"


@pytest.mark.parametrize(
    ("argument", "end", "verdict"),
    [
        (ARGUMENT, RIGHT, "pass"),
        (ARGUMENT, LOST, "finding"),
        (ARGUMENT, "raise ValueError('not so')", "pass"),
        ("", RIGHT, "skipped"),
    ],
)
def test_ignored_rows(tmp_path: Path, argument: str, end: str, verdict: str) -> None:
    who = subject(tmp_path, IGNORING.format(argument=argument, end=end))
    assert result_of(who, "63-ignored-row", "cross_entropy").verdict == verdict


@pytest.mark.parametrize(
    ("measured", "most", "taken"),
    [
        (1.02, 8.0, 2.0),
        (5.04, 8.0, 8.0),
        (1e4, 8.0, 8.0),
        (math.inf, 8.0, 8.0),
        (2.0**23, 4.0, 4.0),
    ],
)
def test_a_poor_exponential_is_no_excuse(measured: float, most: float, taken: float) -> None:
    assert _stepped(measured, most) == taken


@pytest.mark.parametrize("case", ["42-int8", "43-uint8"])
def test_bytes_that_wrap_are_a_finding(tmp_path: Path, case: str) -> None:
    found = result_of(subject(tmp_path, GOOD), case)
    assert found.verdict == "finding"
    assert found.case_input


def test_a_saturated_logarithm_is_a_finding(tmp_path: Path) -> None:
    source = "import numpy as np\ndef log_softmax(x, axis=-1):\n"
    source += "    d = x - x.max(axis=axis, keepdims=True)\n"
    source += "    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))\n"
    found = result_of(subject(tmp_path, source), "15-saturated-log", "log_softmax")
    assert found.verdict == "finding"


def test_the_limit_at_infinity_is_another_convention(tmp_path: Path) -> None:
    source = GOOD.replace("x - x.max", "np.where(np.isposinf(x), 700, np.minimum(x, -9e3)) - x.max")
    limits = Path(__file__).parents[1] / "meta" / "correct" / "limits_at_infinity.py"
    found = result_of(LocalSubject.from_path(limits), "5-one-infinity")
    assert found.verdict == "finding"
    assert found.outcome == "limit"
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
    assert (found.verdict, found.status) == ("failure", "crashed")


def test_a_worker_gives_the_same_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    path.write_text(NAIVE.format(metadata=""))
    remote = RemoteSubject(Implementation(read_metadata(path)))
    options = Options(
        cases=("2-some-masked", "11-overflow", "42-int8", "36-reversed"), thorough=False
    )
    try:
        far = list(judge(remote, "softmax", "float32", options=options))
    finally:
        remote.stop()
    near = LocalSubject.from_path(path)
    assert far == list(judge(near, "softmax", "float32", options=options))


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


def crowded_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, shares: list[Share]
) -> ConformanceRecord:
    """The verdict where the system tells these shares of the processors, one a limit passed."""
    path = tmp_path / "candidate.py"
    path.write_text(source)
    remaining = iter(shares)
    monkeypatch.setattr("harness.worker.client.share", lambda pid, before: next(remaining))
    remote = RemoteSubject(Implementation(read_metadata(path)))
    remote.worker.first_s = 0.0
    try:
        options = Options(cases=("40-default-axis",), timeout_s=0.5)
        (found,) = judge(remote, "softmax", "float32", options=options)
    finally:
        remote.stop()
    assert next(remaining, None) is None
    return found


BUSY, FREE = Share(ran_s=0.1, waited_s=0.4), Share(ran_s=0.5, waited_s=0.0)


def test_a_limit_that_the_machine_caused_is_put_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = "import time\n\nleft = [1.0]\n\ndef softmax(x, axis=-1):\n"
    waits += "    time.sleep(left.pop() if left else 0.0)\n"
    source = GOOD.replace("\ndef softmax(x, axis=-1):\n", waits)
    assert crowded_verdict(tmp_path, monkeypatch, source, [BUSY]).verdict == "pass"


@pytest.mark.parametrize(
    ("shares", "verdict", "told"),
    [
        ([FREE], "failure", "no answer within 0.5 s"),
        ([Share()], "failure", "no answer within 0.5 s"),  # it sleeps, or nobody tells
        ([BUSY, Share(ran_s=0.3, waited_s=1.7)], "skipped", "the machine was busy"),
        ([BUSY, Share(ran_s=0.6, waited_s=1.4)], "failure", "no answer within 2 s"),
    ],
)
def test_a_hang_on_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: list[Share], verdict: str, told: str
) -> None:
    source = "import time\n\ndef softmax(x, axis=-1):\n    time.sleep(600)\n"
    found = crowded_verdict(tmp_path, monkeypatch, source, shares)
    assert found.verdict == verdict
    assert told in (found.reason or "")


def test_the_worst_observation_decides() -> None:
    seen = [
        Observation("pass", "exact"),
        Observation("failure", "nan"),
        Observation("finding", "wrong"),
    ]
    assert worst(seen) is seen[1]


def test_a_record_takes_every_field(tmp_path: Path) -> None:
    record = result_of(subject(tmp_path, NAIVE.format(metadata="")), "11-overflow")
    again = ConformanceRecord.model_validate_json(record.model_dump_json())
    assert again == record
    assert (record.status, record.verdict, record.number) == ("failed", "failure", 11)


def test_a_message_with_half_a_character_is_recorded(tmp_path: Path) -> None:
    source = "def softmax(x, axis=-1):\n    raise ValueError('bad \\udc80 text')\n"
    record = result_of(subject(tmp_path, source), "11-overflow")
    assert (record.status, record.outcome) == ("failed", "raises")
    assert "raised ValueError: bad ? text" in (record.reason or "")
    assert ConformanceRecord.model_validate_json(record.model_dump_json()) == record


def test_cases_apply_to_something() -> None:
    assert all(c.operations and c.dtypes for c in CASES)


def test_a_planned_cell_has_the_key_of_the_measured_one(tmp_path: Path) -> None:
    who = subject(tmp_path, GOOD)
    measured = [result_of(who, "11-overflow"), *judge(who, "logsumexp", "float32")]
    for record in measured:
        case, operation = BY_ID[str(record.case)], record.operation
        assert cell_key(record) == cell_key(planned(who.metadata, operation, "float32", case, 0))


def test_compiling_is_no_hang() -> None:
    assert limit_of(20.0, None) >= 120.0
    assert limit_of(20.0, 5.0) == 30.0
    assert limit_of(20.0, 0.2, calls=300) >= 80.0  # shapes that each compile anew
    assert limit_of(20.0, 10.0, calls=300) == 160.0  # a hang has an end


def test_the_first_of_equals_is_shown() -> None:
    seen = [Observation("failure", "wrong", m) for m in ("first", "second")]
    assert worst(seen) is seen[0]


def test_hangs_cost_what_was_said_and_no_more(plain_file: Callable[[str, str], Path]) -> None:
    path = plain_file("hangs", "import time; time.sleep(1000)")
    asked = Options(timeout_s=2.0, patience_s=4.0, cases=("8-nan", "9-signed-zeros", "41-axes"))
    seen = []
    for dtype in ("float64", "float32"):  # the second process knows what the first one waited
        subject = RemoteSubject(load(path), patience_s=asked.patience_s)
        try:
            seen += list(judge(subject, "softmax", dtype, options=asked))
        finally:
            subject.stop()
    # what the first hang is shrunk to may use up the rest of the patience
    assert seen[0].status == "crashed"
    assert str(seen[0].reason).startswith("run: no answer within 2 s")
    assert {r.status for r in seen[2:]} == {"skipped"}
    assert {str(r.reason) for r in seen[2:]} == {"not tried: 4 s had passed without an answer"}


@pytest.mark.parametrize(
    ("source", "compiles"), [("import numpy", False), ("import numba", True), ("import mlx", True)]
)
def test_a_first_call_is_waited_for_where_it_may_compile(
    source: str, compiles: bool, tmp_path: Path
) -> None:
    path = tmp_path / "one.py"
    path.write_text(f"{source}\n\ndef softmax(x, axis=-1): ...\n")
    assert may_compile(read_metadata(path)) is compiles


@pytest.mark.parametrize("operation", ["softmax", "log_softmax", "logsumexp"])
def test_what_is_expected_of_many_steps_is_that_of_each(operation: str) -> None:
    rng = np.random.default_rng(7)
    rows = [rng.normal(scale=30.0, size=(3, 5)).astype(np.float32) for _ in range(6)]
    rows[1][0, 2], rows[2][1], rows[3][2, 0] = np.nan, -np.inf, np.inf
    steps = [Step(operation, (x,), axis) for x in rows for axis in (0, 1)]
    fmt, arithmetic = float_format("float32"), Arithmetic()
    expect_all(steps, fmt, arithmetic)
    for step in steps:
        (together,) = expected_of(step, fmt, arithmetic)
        (alone,) = _evaluate(step, fmt, arithmetic)
        assert together.source is not None  # a part of what was in memory
        for name in ("allowed", "free", "rounded"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
        for name in ("hi", "lo", "exponent"):
            a, b = (np.asarray(getattr(e.exact, name)) for e in (together, alone))
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("waiting", "judged"), [(0.0, 2), (1.0, 5)])
def test_how_much_is_judged_does_not_depend_on_who_else_is_busy(
    waiting: float, judged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds that pass while we wait for a processor take nothing off the time of a case."""
    monkeypatch.setattr(
        "harness.experiments.conformance.case_run.waited",
        lambda *tasks: waiting * time.perf_counter(),
    )
    trial = Trial(
        subject(tmp_path, GOOD), "41-axes", 41, "softmax", "float32", Arithmetic(), budget_s=0.15
    )

    def judge(item: int) -> list[Observation]:
        time.sleep(0.1)
        return [Observation("pass", "exact")]

    found = list(trial.in_time(range(5), judge, "widths"))
    assert len([o for o in found if o.outcome == "exact"]) == judged
