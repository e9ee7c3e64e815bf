"""The environment `lowest` installs what pyproject.toml allows, and no later version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_lowest_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(re.match(r"([\w-]+)>=([\d.]+)", d).groups() for d in project["dependencies"])  # type: ignore[union-attr]
    pinned = dict(
        line.split("==")
        for line in (ROOT / "tests/lowest.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )

    def parts(version: str) -> list[int]:
        """Its numbers, without zeros at the end."""
        numbers = [int(n) for n in version.split(".")]
        while numbers[-1:] == [0]:
            del numbers[-1]
        return numbers

    assert {n: parts(v) for n, v in pinned.items()} == {n: parts(v) for n, v in bounds.items()}
