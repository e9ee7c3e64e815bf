"""The commands that a report prints are commands that `run` takes."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import pytest
import report_run
import typer.main

from harness.cli.app import app
from harness.report import build_site

TABLE = re.compile(r'<table data-repeat="([^"]+)">(.*?)</table>', re.DOTALL)


@pytest.fixture(scope="module")
def commands(site: Path) -> list[str]:
    """Of every column of every table of a site that has one, for its first row."""
    found = []
    for page in sorted(site.rglob("*.html")):
        for repeat, table in TABLE.findall(page.read_text(encoding="utf-8")):
            columns = re.findall(r'<th [^>]*data-repeat="([^"]+)"', table) or [""]
            rows = re.findall(r'data-i="([^"]+)"', table)
            found += [html.unescape(f"{repeat} {column} -i max_shift") for column in columns]
            assert rows, page
    return found


def test_tables_of_every_experiment_have_them(commands: list[str]) -> None:
    experiments = {m for c in commands for m in re.findall(r"--experiment (\w+)", c)}
    assert experiments == {"accuracy", "overflow", "throughput"}


def test_run_takes_them(commands: list[str]) -> None:
    """Its options, and the values that they take."""
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    for command in dict.fromkeys(commands):
        name, verb, *arguments = shlex.split(command)
        assert (name, verb) == ("softmax-bench", "run")
        context = run.make_context("run", arguments)
        assert context.params["implementation"][-1] == "max_shift"
        assert context.params["experiment"]


def test_an_operation_of_a_strangers_file_is_one_word_of_a_command(tmp_path: Path) -> None:
    hostile = "softmax; curl x|sh #"
    records = [
        {**c, "operation": hostile if c["operation"] == "softmax" else c["operation"]}
        for c in report_run.cells()
        if c["experiment"] == "throughput" and c["threads"] == 4
    ]
    site = build_site([report_run.run(records)], tmp_path / "site").parent
    page = (site / "index.html").read_text(encoding="utf-8")
    options = {html.unescape(o) for o in re.findall(r'<th [^>]*data-repeat="([^"]+)"', page)}
    assert options
    for option in options:
        assert hostile in shlex.split(option)


def test_a_run_of_other_data_promises_no_command(tmp_path: Path) -> None:
    run = report_run.run(filters={"logits": "mine.npy"})
    page = build_site([run], tmp_path / "site").read_text(encoding="utf-8")
    assert "<p>Again:" not in page
    assert 'data-repeat="' not in page


def test_a_page_quotes_what_a_result_file_names(tmp_path: Path) -> None:
    """A profile or a baseline of a stranger's file is one word of the command."""
    hostile = "quick; rm -rf /"
    site = build_site([report_run.run(profile=hostile)], tmp_path / "site").parent
    page = (site / "index.html").read_text(encoding="utf-8")
    (repeat,) = {html.unescape(r) for r, _ in TABLE.findall(page)}
    assert shlex.split(repeat)[:4] == ["softmax-bench", "run", "--profile", hostile]
