"""Text of a stranger's results, in every field that takes any: shown as text, wherever it goes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import report_run
from pydantic import ValidationError
from report_pages import zipped
from typer.testing import CliRunner

from harness.cli.app import app
from harness.records import RECORD, RunInfo
from harness.report import build
from harness.report.drawing.sanitize import readable, stem
from harness.report.site import scripts

HOSTILE = (
    "../../../up</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'`]]>--><b>|*_"
    "[a](javascript:alert(3))\x1b[31m\x07\u202e\x9b2J{{7*7}}$\\frac{1}{0}$ &amp; =1+1"
)
STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
KEPT = ("max_shift", "naive", "copy_regular")
# coordinates first, one at a time: together they would leave nothing that the pages group by
FIELDS = ("dtype", "operation", "implementation", "workload", "run and all others")


def _text_leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _text_leaves(value, (*path, key))
        elif isinstance(value, str):
            yield (*path, key)


def _poisoned(data: Mapping[str, Any], validate: Any, wanted: Any) -> dict[str, Any]:
    """The data with hostile text after that of each field which may hold any."""
    current: dict[str, Any] = json.loads(json.dumps(data))
    for path in list(_text_leaves(current)):
        if wanted(path[0]):
            trial = json.loads(json.dumps(current))
            holder = trial
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = holder[path[-1]] + HOSTILE
            try:
                validate(trial)
            except ValidationError:
                continue
            current = trial
    return current


def _written(folder: Path, field: str) -> Path:
    records = [
        c
        for c in report_run.cells()
        if c["implementation"] in KEPT and c["dtype"] == "float32" and c["threads"] in (None, 4)
    ]
    info = json.loads(report_run.run(records).info.model_dump_json())
    records = [
        json.loads(RECORD.validate_python(r).model_dump_json(exclude_none=True)) for r in records
    ]
    named = set(FIELDS[:-1])
    if field == FIELDS[-1]:
        info = _poisoned(info, RunInfo.model_validate, lambda key: key not in ("id", "machine"))
        poison = partial(_poisoned, wanted=lambda key: key not in named)
        records = [poison(r, RECORD.validate_python) for r in records]
    else:
        poison = partial(_poisoned, wanted=lambda key: key == field)
        records = [poison(r, RECORD.validate_python) for r in records]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    (folder / "cells.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in records), encoding="utf-8"
    )
    return folder


class _Tags(HTMLParser):
    """What a browser would run, or fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        for name, value in attrs:
            scheme = re.match(r"\s*(javascript|data|vbscript):", value or "", re.IGNORECASE)
            if name.startswith("on") or (name in ("href", "src") and scheme):
                self.found.append((tag, name, value))
            if name == "src" and re.match(r"\s*(https?:)?//", value or ""):
                self.found.append((tag, name, value))


def _without_our_scripts(html: str) -> str:
    """A page without the scripts that are ours, word for word, and the data that they read."""
    for page in ("index", ""):
        html = html.replace(f"<script>{scripts(page).text}</script>", "")
    data = re.search(r'<script type="application/json" id="pareto-data">([^<>]*)</script>', html)
    if data is None:
        return html
    json.loads(data[1])
    return html.replace(data[0], "")


@pytest.mark.parametrize("field", FIELDS)
def test_hostile_text_is_shown_as_text(tmp_path: Path, field: str) -> None:
    folder = _written(tmp_path / "box" / "run", field)
    assert "onerror" in (folder / "run.json").read_text() + (folder / "cells.jsonl").read_text()
    outside = {p for p in tmp_path.rglob("*") if p.is_file()}
    site = build([folder], tmp_path / "deep" / "deeper" / "site").parent
    pages = sorted(site.rglob("*.html"))
    assert "onerror" in "".join(p.read_text(encoding="utf-8") for p in pages)
    for page in pages:
        html = page.read_text(encoding="utf-8")
        tags = _Tags()
        tags.feed(_without_our_scripts(html))
        assert tags.found == [], page
        assert not STEERING.search(html), page
        assert "49" not in re.findall(r"alert\(3\)\)(?:[^$]*)\$", html), page
    for drawing in site.rglob("*.svg"):
        for element in ElementTree.parse(drawing).getroot().iter():
            assert element.tag.rpartition("}")[2] not in ("script", "img", "b", "foreignObject")
            assert not any(name.startswith("on") for name in element.attrib)
    for archive in site.rglob("*.zip"):
        for name, text in zipped(archive).items():
            assert not STEERING.search(text), name
            assert re.fullmatch(r"([a-z]+/)?[A-Za-z0-9._-]+", name)
            if name.endswith(".md"):
                assert not re.search(r"<|(?<!\\)\]\(", text), name
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - outside
    assert all(p.is_relative_to(site) for p in made)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", p.name) for p in made)


@pytest.mark.parametrize("field", ["dtype", "implementation", "run and all others"])
def test_hostile_text_steers_no_terminal(tmp_path: Path, field: str) -> None:
    folder = _written(tmp_path / "box" / "run", field)
    other = _written(tmp_path / "box" / "other", field)
    commands = [["compare", str(folder), str(other), "--markdown", str(tmp_path / "c.md")]]
    if field == FIELDS[-1]:  # a report says no more of records than where it is
        commands.append(["report", str(folder), "-o", str(tmp_path / "site")])
    for command in commands:
        done = CliRunner().invoke(app, command)
        assert done.exception is None or isinstance(done.exception, SystemExit)
        for said in (done.stdout, done.stderr):
            assert not STEERING.search(said), (command, said)
            assert "Traceback" not in said
    if (tmp_path / "c.md").exists():
        text = (tmp_path / "c.md").read_text(encoding="utf-8")
        assert not STEERING.search(text)
        assert not re.search(r"(?<!\\)<(script|img|b)\b", text)
        assert not re.search(r"(?<!\\)\]\(javascript", text)


@pytest.mark.parametrize(
    ("text", "safe"), [("ulp-float32", True), ("../up", False), ("a/b", False), (".hidden", False),
                       ("", False), ("a" * 300, False), ("a\x1b", False)],
)  # fmt: skip
def test_a_stem_is_kept_where_it_is_safe(text: str, safe: bool) -> None:
    made = stem(text)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}", made)
    assert (made == text) is safe


def test_readable_text_keeps_its_white_space() -> None:
    assert readable("a\tb\nc\r\n\u00e9\u0416\u4e2d") == "a\tb\nc\r\n\u00e9\u0416\u4e2d"
    assert readable("\x1b[2J\u202eabc\x9b") == "\ufffd[2J\ufffdabc\ufffd"
