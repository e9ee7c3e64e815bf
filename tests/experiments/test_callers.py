"""How calls are made by other threads, in a forked child, and in the midst of each other."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from local_subject import LocalSubject

from harness.experiments.conformance import forked
from harness.experiments.conformance.call import Array, Caller, Result, Step
from harness.experiments.conformance.catalogue import CASES
from harness.experiments.conformance.executor import perform_steps
from harness.experiments.conformance.forked import in_a_child
from harness.experiments.conformance.interleaved import between_lines
from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.plan import plan
from harness.experiments.conformance.target import RemoteSubject
from harness.experiments.context import Context
from harness.experiments.profiles import SMOKE
from harness.records import ConformanceRecord
from harness.registry.contract import read_metadata
from harness.registry.discovery import Implementation, load
from harness.worker import backends
from harness.worker.client import Pool

HERE = str(Path(__file__).parent)

SOFTMAX = """import numpy as np

def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""
LOSS = """import numpy as np

def cross_entropy(logits, targets):
    d = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(d)
    s = e.sum(axis=1, keepdims=True)
    rows = np.arange(len(targets))
    gradient = e / s
    gradient[rows, targets] -= 1
    return np.log(s[:, 0]) - d[rows, targets], gradient
"""


def result_of(
    tmp_path: Path, source: str, case: str, operation: str = "softmax"
) -> ConformanceRecord:
    path = tmp_path / "candidate.py"
    path.write_text(source)
    options = Options(cases=(case,), thorough=False)
    (found,) = judge(LocalSubject.from_path(path), operation, "float32", options=options)
    return found


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def called(function: Callable[..., Any], caller: Caller, *arrays: Array) -> list[Result]:
    steps = [Step("softmax", (a,), caller=caller) for a in arrays]
    return perform_steps(lambda name: function, backends.get("numpy"), steps)


X, Y = (np.linspace(a, 3, 12, dtype=np.float32).reshape(3, 4) for a in (0, 1))


@pytest.mark.parametrize("caller", ["thread", "together", "fork"])
def test_every_caller_gets_the_result(caller: Caller) -> None:
    for x, result in zip((X, Y), called(softmax, caller, X, Y), strict=True):
        assert result.arrays[0].tobytes() == softmax(x).tobytes()
        assert result.dtypes == ("float32",)


def test_the_threads_are_others_and_the_child_is_another_process() -> None:
    here = (os.getpid(), threading.get_ident())

    def where(x: Array, axis: int = -1) -> Array:
        return np.array([os.getpid() == here[0], threading.get_ident() == here[1]])

    def place(caller: Caller) -> list[bool]:
        return [bool(b) for b in called(where, caller, X)[0].arrays[0]]

    assert place("own") == [True, True]
    assert place("thread") == place("together") == [True, False]
    assert place("fork")[0] is False


@pytest.mark.parametrize("caller", ["thread", "together", "fork"])
def test_an_exception_is_a_result_of_every_caller(caller: Caller) -> None:
    def raises(x: Array, axis: int = -1) -> Array:
        raise ValueError("no")

    assert [r.error for r in called(raises, caller, X, Y)] == ["ValueError: no"] * 2


def test_threads_leave_the_interpreter_as_it_was() -> None:
    before = (sys.getswitchinterval(), sys.gettrace(), threading.active_count())
    called(softmax, "together", X, Y)
    assert (sys.getswitchinterval(), sys.gettrace(), threading.active_count()) == before


def test_a_child_that_crashes_is_told_and_what_it_had_answered_is_kept() -> None:
    answers = in_a_child([lambda: 1, lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: 3])
    crash = "the forked child was killed by SIGTERM"
    assert answers == [1, crash, crash]
    assert in_a_child([lambda: os._exit(3)]) == ["the forked child ended without an answer"]


def test_a_child_that_waits_for_ever_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "STILL_S", 0.3)
    lock = threading.Lock()
    before = set(psutil.Process().children())
    with lock:
        assert in_a_child([lock.acquire]) == ["the forked child hangs: it has waited for 0.3 s"]
    assert set(psutil.Process().children()) <= before  # nothing is left of it


def test_a_child_that_spins_for_ever_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "LONGEST_S", 0.5)

    def spin() -> None:
        while True:
            pass

    assert in_a_child([spin]) == ["the forked child hangs: no answer within 0.5 s"]


def test_large_answers_of_a_child_arrive_whole() -> None:
    (answer,) = in_a_child([lambda: bytes(10_000_000)])
    assert answer == bytes(10_000_000)


def test_a_call_is_made_whole_between_all_lines_of_the_other() -> None:
    seen: list[str] = []

    def first() -> str:
        seen.append("a")
        seen.append("b")
        return "c"

    value, others = between_lines(first, lambda: seen.append("-"), HERE)
    assert value == "c"
    assert seen == ["-", "a", "-", "b", "-"]
    assert len(others) == 3


def test_a_lock_that_both_take_is_no_deadlock() -> None:
    lock, made = threading.Lock(), []

    def locked() -> None:
        with lock:
            time.sleep(0)
            made.append(1)

    between_lines(locked, locked, HERE)
    assert len(made) >= 2


def test_positional_axis_that_is_refused_is_a_finding(tmp_path: Path) -> None:
    found = result_of(tmp_path, SOFTMAX.replace("x, axis", "x, *, axis"), "positional-axis")
    assert (found.verdict, found.outcome) == ("finding", "raises")


LOCKED = (
    SOFTMAX.replace("\ndef softmax", "\ndef _softmax")
    + """
import threading
_lock = threading.Lock()

def softmax(x, axis=-1):
    with _lock:
        return _softmax(x, axis)
"""
)


def test_right_callers_pass(tmp_path: Path) -> None:
    cases = ("second-thread", "two-threads", "after-fork", "positional-axis", "state")
    for source in (SOFTMAX, LOCKED):
        verdicts = {case: result_of(tmp_path, source, case).verdict for case in cases}
        assert set(verdicts.values()) == {"pass"}, verdicts


def test_threads_that_a_child_lacks_are_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked, "STILL_S", 0.3)
    source = (
        SOFTMAX.replace("def softmax", "def _softmax")
        + """
from concurrent.futures import ThreadPoolExecutor
_pool = ThreadPoolExecutor(1)

def softmax(x, axis=-1):
    return _pool.submit(_softmax, x, axis).result()
"""
    )
    assert result_of(tmp_path, source, "two-threads").verdict == "pass"
    found = result_of(tmp_path, source, "after-fork")
    assert (found.verdict, found.status) == ("finding", "ok")
    assert "the forked child hangs: it has waited" in str(found.message)


def test_a_loss_for_matrices_alone_is_judged_and_not_blamed(tmp_path: Path) -> None:
    found = result_of(tmp_path, LOSS, "logits-of-other-dimensions", "cross_entropy")
    assert found.verdict == "skipped"
    assert "logits (C,) are not offered: raises" in str(found.reason)
    assert "logits (A, B, C) are not offered: raises" in str(found.reason)
    asked = ("1-nan", "41-axes", "targets", "8-signed-zeros", "two-threads", "second-thread")
    for case in asked:
        path = tmp_path / "candidate.py"
        for r in judge(
            LocalSubject.from_path(path), "cross_entropy", "float32",
            options=Options(cases=(case,), thorough=False),
        ):  # fmt: skip
            assert r.verdict == "pass", r.message


def test_a_wrong_loss_for_matrices_alone_is_found_in_rows_of_one_dimension(tmp_path: Path) -> None:
    source = LOSS.replace("np.log(s[:, 0])", "np.log(s[:, 0]) + (len(targets) == 1)")
    assert result_of(tmp_path, source, "41-axes", "cross_entropy").verdict == "failure"


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("rows = ", "targets = targets % logits.shape[1]; rows = "), "failure"),
        (("rows = ", "targets = np.clip(targets, 0, 4); rows = "), "failure"),
        (("a", "a"), "finding"),  # -1 counts from the last class, 5 raises
        (
            ("rows = ", "assert targets.min() >= 0 and targets.max() < logits.shape[1]; rows = "),
            "pass",
        ),
    ],
)
def test_targets_that_are_no_class(
    tmp_path: Path, change: tuple[str, str], verdict: str
) -> None:  # fmt: skip
    source = LOSS.replace(*change)
    found = result_of(tmp_path, source, "targets-that-are-no-class", "cross_entropy")
    assert found.verdict == verdict, found.message


def test_an_empty_batch_that_is_refused_is_a_finding(tmp_path: Path) -> None:
    source = SOFTMAX.replace("    e =", "    assert x.size\n    e =")
    found = result_of(tmp_path, source, "32-no-rows")
    assert (found.verdict, found.outcome) == ("finding", "raises")
    assert result_of(tmp_path, SOFTMAX, "32-no-rows").verdict == "pass"


FIRST_FORMAT = """import numpy as np

_kept = []

def softmax(x, axis=-1):
    if x.ndim == 3:
        _kept.append(x.dtype)
    w = x.astype(_kept[0] if _kept else x.dtype)
    e = np.exp(w - w.max(axis=axis, keepdims=True))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
"""


def test_state_names_the_call_after_which_a_result_differs(tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    path.write_text(FIRST_FORMAT)
    remote = RemoteSubject(Implementation(read_metadata(path)))
    try:
        (found,) = judge(remote, "softmax", "float64", options=Options(cases=("state",)))
    finally:
        remote.stop()
    assert found.verdict == "failure"
    assert "differs from that of a fresh process" in str(found.message)
    assert "after softmax(x, axis=1) of " in str(found.message)
    assert "[3, 4, 5]" in str(found.message)


def test_results_that_differ_in_the_last_bits_are_a_finding(tmp_path: Path) -> None:
    source = (
        SOFTMAX
        + """
_exact = softmax
_calls = []

def softmax(x, axis=-1):
    _calls.append(x)
    y = _exact(x, axis)
    return np.nextafter(y, np.zeros_like(y)) if len(_calls) > 99 else y
"""
    )
    found = result_of(tmp_path, source, "state")
    assert (found.verdict, found.outcome) == ("finding", "accurate")
    assert "in its last bits" in str(found.message)


def test_what_differs_from_run_to_run_is_held_against_its_bound(tmp_path: Path) -> None:
    source = (
        SOFTMAX
        + """
_exact = softmax
_rng = np.random.default_rng()

def softmax(x, axis=-1):
    y = _exact(x, axis)
    return np.where(_rng.random(y.shape) < 0.5, y, np.nextafter(y, np.zeros_like(y)))
"""
    )
    assert result_of(tmp_path, source, "state").verdict == "pass"


def test_cases_of_the_whole_are_judged_once(tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    path.write_text(SOFTMAX)
    options = Options(cases=("state", "after-fork"), whole=False)
    assert list(judge(LocalSubject.from_path(path), "softmax", "float32", options=options)) == []


def test_a_run_plans_cases_of_the_whole_once_for_each_implementation() -> None:
    names = ("max_shift", "scipy")
    context = Context(
        [load(name) for name in names], Pool(), SMOKE, 0, cores=1, on_note=lambda note: None
    )
    cells = [cell for unit in plan(context) for cell in unit.coordinates]
    for case in (c for c in CASES if c.whole):
        planned = [c.implementation for c in cells if c.workload == case.id]
        assert sorted(planned) == sorted(names)
