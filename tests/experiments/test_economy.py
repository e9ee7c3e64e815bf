"""What a judge saves: processes are kept, few shapes are compiled, tasks are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from local_subject import LocalSubject
from pydantic import TypeAdapter

from harness.bounds.tolerances import Arithmetic
from harness.experiments.conformance import judge_process
from harness.experiments.conformance.call import Result, Step
from harness.experiments.conformance.catalogue import CASES
from harness.experiments.conformance.judge import Options, judge
from harness.experiments.conformance.judge_process import judge_unit, unit
from harness.experiments.conformance.plan import _by_module
from harness.experiments.conformance.target import compiles_every_shape
from harness.records import ConformanceRecord
from harness.registry.contract import Metadata

MUTANTS = Path(__file__).parents[1] / "meta" / "mutants"
PLAIN = """
import numpy as np

def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""
SLOW_AT_FIRST = """
import ctypes  # whoever names it may compile
import time
import numpy as np

_seen = set()

def softmax(x, axis=-1):
    kind = {kind}
    if kind not in _seen:
        _seen.add(kind)
        time.sleep(0.1)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""


def judged(path: Path, dtype: str, *cases: str) -> list[ConformanceRecord]:
    """What `judge_unit` finds in this process, which keeps that of the implementation."""
    plain = unit(path, "softmax", dtype, Arithmetic(), Options(cases=cases, thorough=False))
    found = judge_unit(**plain)
    records: list[ConformanceRecord] = TypeAdapter(list[ConformanceRecord]).validate_json(
        found.tobytes()
    )
    return records


@pytest.fixture
def _nothing_kept() -> Iterator[None]:
    yield
    for kept in judge_process._KEPT.values():
        kept.subject.stop()
    judge_process._KEPT.clear()


@pytest.mark.usefixtures("_nothing_kept")
def test_the_process_of_an_implementation_is_kept_from_format_to_format(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text(PLAIN, encoding="utf-8")
    judged(path, "float64", "40-default-axis")
    first = judge_process._KEPT[str(path)].subject.worker.pid
    (record,) = judged(path, "float32", "40-default-axis")
    assert record.verdict == "pass"
    assert judge_process._KEPT[str(path)].subject.worker.pid == first is not None


@pytest.mark.usefixtures("_nothing_kept")
def test_what_only_a_used_process_gets_wrong_is_a_failure_that_says_so() -> None:
    path = MUTANTS / "state_first_format.py"  # float64 after float32 has the digits of float32
    judged(path, "float32", "40-default-axis")
    wrong, right = judged(path, "float64", "40-default-axis", "58-distribution")
    assert wrong.verdict == "failure"
    assert str(wrong.message).startswith("after calls in other formats")
    assert right.verdict == "pass"  # in a process of its own


@pytest.mark.usefixtures("_nothing_kept")
def test_what_is_wrong_in_a_new_process_too_is_told_as_ever() -> None:
    path = MUTANTS / "base_two.py"
    judged(path, "float32", "34-scalar")
    (wrong,) = judged(path, "float64", "40-default-axis")
    assert wrong.verdict == "failure"
    assert str(wrong.message).startswith("out[")
    assert wrong.witness is not None


def test_the_cases_of_an_operation_are_shared_among_tasks_without_loss() -> None:
    ids = [case.id for case in CASES if case.applies("softmax", "float32")]
    tasks = _by_module(ids)
    assert sorted(i for task in tasks for i in task) == sorted(ids)
    assert len(tasks) > 6


@pytest.mark.parametrize(
    ("kind", "every_shape"),
    [("(x.shape, axis)", True), ("x.dtype", False), ("0", False)],
)
def test_a_compiler_by_shape_is_known_by_its_times(
    tmp_path: Path, kind: str, every_shape: bool
) -> None:
    path = tmp_path / "slow_at_first.py"
    path.write_text(SLOW_AT_FIRST.format(kind=kind), encoding="utf-8")
    subject = LocalSubject.from_path(path)
    steps = [Step("softmax", (np.zeros(shape),)) for shape in ((4, 7), (3, 11), (5, 13), (2, 17))]
    assert compiles_every_shape(subject, steps, 10.0) is every_shape


@dataclass
class Counting:
    """NumPy as a library that compiles for every shape, which it counts."""

    inner: LocalSubject
    shapes: set[object] = field(default_factory=set)

    @property
    def metadata(self) -> Metadata:
        return replace(self.inner.metadata, backend="jax")

    def perform(self, steps: Sequence[Step], timeout: float = 60.0) -> list[Result]:
        self.shapes |= {(s.full_shape(), s.axis, str(s.arrays[0].dtype)) for s in steps}
        return self.inner.perform(steps, timeout)


def test_what_compiles_every_shape_is_asked_few_and_every_case_all_the_same(
    tmp_path: Path,
) -> None:
    path = tmp_path / "plain.py"
    path.write_text(PLAIN, encoding="utf-8")
    subject = Counting(LocalSubject.from_path(path))
    # That of every count goes by the time that it takes; the others need processes.
    left_out = {"28-every-count", "state", "fresh-process"}
    cases = tuple(
        c.id for c in CASES
        if c.applies("log_softmax", "float32") and not c.whole and c.id not in left_out
    )  # fmt: skip
    options = Options(thorough=False, budget_s=2.5, cases=cases)
    found = list(judge(subject, "log_softmax", "float32", options=options))  # type: ignore[arg-type]
    assert len(subject.shapes) < 200
    sparing = {r.case: r.verdict for r in found}
    plain = {
        r.case: r.verdict for r in judge(subject.inner, "log_softmax", "float32", options=options)
    }
    assert sparing == plain
