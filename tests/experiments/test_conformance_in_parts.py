"""Cases of merges and of a linear layer: right ones pass, each wrong one fails its case."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_subject import LocalSubject

from harness.experiments.conformance.cases.in_parts import CASES
from harness.experiments.conformance.judge import Options, judge
from harness.records import ConformanceRecord
from harness.registry.contract import IN_PARTS
from harness.registry.discovery import load

RIGHT = '''"""Merges and a linear layer, in NumPy."""

import numpy as np


def merge_logsumexp(m1, s1, m2, s2):
    m = np.maximum(m1, m2)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        a = np.where(m1 == -np.inf, 0, np.exp(m1 - m)).astype(m.dtype)
        b = np.where(m2 == -np.inf, 0, np.exp(m2 - m)).astype(m.dtype)
        return m, s1 * a + s2 * b


def linear_cross_entropy(hidden, weight, targets):
    z = hidden @ weight.T
    rows = np.arange(len(z))
    m = z.max(axis=1, keepdims=True)
    e = np.exp(z - m)
    s = e.sum(axis=1, keepdims=True)
    loss = np.log(s)[:, 0] - (z[rows, targets] - m[:, 0])
    g = e / s
    g[rows, targets] -= 1
    return loss, g @ weight, g.T @ hidden
'''
WRONG = {
    "only one side is rescaled": ("merge", "s1 * a + s2 * b", "s1 + s2 * b"),
    "an empty part is not guarded": (
        "merge-empty", "np.where(m2 == -np.inf, 0, np.exp(m2 - m))", "np.exp(m2 - m)",
    ),
    "the smaller maximum is taken": ("merge-far", "np.maximum(m1, m2)", "np.minimum(m1, m2)"),
    "a NaN is taken for an empty part": (
        "merge-nan", "s1 * a + s2 * b", "np.nan_to_num(s1 * a) + np.nan_to_num(s2 * b)",
    ),
    "the gradient in the weights is doubled": ("layer", "g.T @ hidden", "2 * g.T @ hidden"),
    "the loss is not shifted back": ("layer-peaked", " - (z[rows, targets] - m[:, 0])",
                                     " - z[rows, targets]"),
    "nothing is subtracted": ("layer-offset", "m = z.max(axis=1, keepdims=True)",
                              "m = 0 * z[:, :1]"),
    "one class is 0 by a shortcut that forgets the gradients": (
        "layer-equal", "return loss, g @", "g = g + (len(weight) == 1)\n    return loss, g @",
    ),
}  # fmt: skip


def judged(who: LocalSubject, dtype: str) -> list[ConformanceRecord]:
    options = Options(cases=tuple(c.id for c in CASES), thorough=False)
    offered = [o for o in IN_PARTS if o in who.metadata.operations]
    return [r for o in offered for r in judge(who, o, dtype, options=options)]


def failures(tmp_path: Path, source: str, dtype: str = "float32") -> set[str]:
    path = tmp_path / "candidate.py"
    path.write_text(source)
    found = judged(LocalSubject.from_path(path), dtype)
    assert len(found) == len(CASES)
    assert all(r.message for r in found if r.verdict == "failure")
    return {str(r.case) for r in found if r.verdict == "failure"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_right_passes(tmp_path: Path, dtype: str) -> None:
    assert failures(tmp_path, RIGHT, dtype) == set()


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_fails_the_case_made_for_it(tmp_path: Path, what: str) -> None:
    case, right, wrong = WRONG[what]
    assert RIGHT.count(right) == 1
    assert case in failures(tmp_path, RIGHT.replace(right, wrong))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["max_shift", "online", "torch", "torch_fused"])
def test_no_implementation_fails(name: str, dtype: str) -> None:
    one = load(name)
    if not one.available:
        pytest.skip(str(one.unavailable_reason))
    found = judged(LocalSubject.from_path(one.metadata.path), dtype)
    assert len(found) >= 4
    assert {r.case: r.message for r in found if r.verdict != "pass"} == {}
