"""`new`: what it writes is right, and it overwrites nothing."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import typer
from local_subject import LocalSubject
from typer.testing import CliRunner

from harness import load
from harness.cli.new import new, scaffold
from harness.experiments.conformance.cases.attention import CASES
from harness.experiments.conformance.judge import Options, judge
from harness.reference import softmax as reference
from harness.registry.contract import CHANGED, ImplementationError


def test_the_scaffold_is_a_right_softmax(tmp_path: Path) -> None:
    path, _ = scaffold("mine", tmp_path)
    one = load(path)
    x = np.random.default_rng(0).normal(0, 10, (4, 30))
    out = np.empty_like(x)
    assert one.metadata.description == "mine: the max-shift softmax, to be replaced by yours."
    assert one.metadata.operations_with_out == ("softmax",)
    np.testing.assert_allclose(one.softmax(x), reference(x), rtol=1e-13)
    assert one.softmax(x, axis=0, out=out) is out
    np.testing.assert_allclose(out, reference(x, axis=0), rtol=1e-13)


def test_the_operations_of_attention_are_right_once_their_comments_are_taken_away(
    tmp_path: Path,
) -> None:
    path, _ = scaffold("mine", tmp_path)
    text = path.read_text(encoding="utf-8")
    before, first, rest = text.partition("# def scaled_softmax")
    assert set(load(path).operations) == {"softmax"}
    code = "".join(line[2:] or "\n" for line in (first + rest).splitlines(keepends=True))
    path.write_text(before + code, encoding="utf-8")
    who = LocalSubject.from_path(path)
    assert set(who.metadata.operations) == {"softmax", *CHANGED}
    cases = tuple(c.id for c in CASES)
    found = [
        result
        for operation, dtype in product(CHANGED, ("float64", "float32"))
        for result in judge(who, operation, dtype, options=Options(cases=cases, thorough=False))
    ]
    assert len(found) > 2 * len(cases)
    wrong = [r.message for r in found if r.verdict not in ("pass", "skipped")]
    assert wrong == []


def test_its_own_tests_pass_and_catch_a_fault(tmp_path: Path) -> None:
    path, test = scaffold("mine", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, test], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("np.divide(e, ", "np.divide(e * 1.0001, "), encoding="utf-8")
    done = subprocess.run([*command, test], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout


@pytest.mark.parametrize("taken", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious", encoding="utf-8")
    with pytest.raises(ImplementationError, match="not overwritten"):
        scaffold("mine", tmp_path)
    assert (tmp_path / taken).read_text(encoding="utf-8") == "precious"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "name", ["", "My", "a-b", "../x", "class", "1a", "test_x", "max_shift", "a.py", "a\n"]
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImplementationError, match=r"expected a lower-case|choose another"):
        scaffold(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_to_do_next(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(new)
    folder = ["--folder", str(tmp_path / "sub")]
    done = CliRunner().invoke(app, ["mine", *folder])
    assert done.exit_code == 0
    assert "softmax-bench check" in done.output
    again = CliRunner().invoke(app, ["mine", *folder])
    assert again.exit_code == 2
    assert len(again.output.strip().splitlines()) == 1
