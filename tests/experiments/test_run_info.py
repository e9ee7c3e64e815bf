"""What a run says of the checkout that it was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.experiments import run_info
from harness.experiments.run_info import git_state


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed checkout with both packages, from which the harness seems to run."""
    for name in ("harness", "implementations"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(run_info, "PACKAGE", tmp_path / "harness")
    return tmp_path


def test_a_committed_checkout_is_clean(checkout: Path) -> None:
    commit, dirty = git_state()
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False


@pytest.mark.parametrize(
    "path", ["harness/__init__.py", "implementations/__init__.py", "implementations/new.py"]
)
def test_a_changed_or_new_module_makes_it_dirty(checkout: Path, path: str) -> None:
    (checkout / path).write_text("x = 1\n")
    assert git_state()[1] is True


def test_a_result_beside_the_modules_does_not(checkout: Path) -> None:
    (checkout / "results").mkdir()
    (checkout / "results" / "run.json").write_text("{}")
    assert git_state()[1] is False


def test_the_checkout_of_somebody_else_is_not_ours(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / "venv" / "harness"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(run_info, "PACKAGE", installed)
    assert git_state() == (None, None)
