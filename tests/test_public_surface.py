"""What others rely on: the names of the package, the commands, their exit codes, committed runs."""

from __future__ import annotations

import csv
import html
import importlib
import inspect
import re
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import typer

import harness
from harness.cli.app import app
from harness.cli.exits import Exit
from harness.records.reader import read_run
from harness.report.build import build

ROOT = Path(__file__).parents[1]
RUNS = sorted(p.parent for p in (ROOT / "results").glob("*/*/run.json"))

FUNCTIONS = {
    "load": ["name_or_path"],
    "implementations": [],
    "reference.softmax": ["x", "axis", "dtype"],
    "reference.log_softmax": ["x", "axis", "dtype"],
    "reference.logsumexp": ["x", "axis", "dtype"],
    "reference.softmax_backward": ["grad", "y", "axis", "dtype"],
    "reference.cross_entropy": ["logits", "targets", "dtype"],
    "reference.softmax_exact": ["x", "axis"],
    "metrics.ulp_error": ["computed", "exact", "fmt"],
    "workloads.generate": ["family_or_id", "classes", "rows", "dtype", "seed"],
    "bounds.evaluate_bound": ["name", "logits", "exact"],
    "bounds.error_over_bound": ["computed", "exact", "bound", "fmt"],
    "read_results": ["paths"],
    "compare": ["base", "new"],
}

SHOWN = {
    "20261122T124308Z-378d07": {"exhaustive": ["0.501043", "227 593 + 227 593", "0.500867"]},
    "20261122T141242Z-a112ab": {"exhaustive": ["0.500242", "195 448 + 195 448", "0.500021"]},
    "20261122T151304Z-fdcf0e": {"throughput": ["0.977 MiB in and out", "62.5 µs", "16.4", "1.51"]},
    "20261122T142723Z-200faf": {
        "index": ["65.8", "7720", "88.7228317", "41.6"],
        "accuracy": ["99.1", "52.5"],
        "overflow": ["32767.6504"],
        "throughput": ["1.238 [1.048, 1.424]", "12.9"],
        "claims": ["softmax([2,3,1])", "[0.24473, 0.66524, 0.09003]", "from 0.25 at gap 0"],
    },
    "20261122T151557Z-044bea": {"conformance": ["exp(x) overflows for large logits", "469", "347"]},
    "20261122T180355Z-872f7f": {"throughput": ["34.6 µs", "30.3 [27.4, 34.6]", "2.51"]},
    "20261122T210349Z-4b19fd": {"throughput": ["36.3 µs", "28.9 [22.4, 37.3]", "2.36"]},
}
"""Some figures of each committed run, and the page of its report that has them."""

LARGE = {"20261122T142723Z-200faf", "20261122T151557Z-044bea", "20261122T180355Z-872f7f",
         "20261122T210349Z-4b19fd"}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_where_they_were_with_their_first_parameters(name: str) -> None:
    found: object = harness
    for part in name.split("."):
        found = getattr(found, part)
    parameters = list(inspect.signature(found).parameters)  # type: ignore[arg-type]
    assert parameters[: len(FUNCTIONS[name])] == FUNCTIONS[name]
    assert inspect.getdoc(found)


def test_the_package_lists_its_names_and_its_modules_can_be_imported() -> None:
    assert set(harness.__all__) == {
        "bounds", "compare", "implementations", "load", "metrics", "read_results", "reference",
        "workloads",
    }  # fmt: skip
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    for module in ("metrics", "reference", "workloads", "bounds"):
        assert importlib.import_module(f"harness.{module}") is getattr(harness, module)
    assert harness.__version__ == "0.1.0"


def test_a_loaded_implementation_takes_and_gives_numpy_arrays() -> None:
    one = harness.load("max_shift")
    assert {"softmax", "log_softmax"} <= set(one.operations)
    assert one.available
    assert one.unavailable_reason is None
    x = np.array([[1.0, 2.0, 4.0]], np.float32)
    out = np.empty_like(x)
    assert one.softmax(x, axis=-1, out=out) is out
    assert not hasattr(one, "no_such_operation")
    assert set(harness.implementations()) >= {"naive", "max_shift", "numba_cpu", "torch"}


def test_the_commands_and_the_exit_codes_are_those_of_the_readme() -> None:
    group = typer.main.get_command(app)
    assert set(group.commands) == {  # type: ignore[attr-defined]
        "list", "run", "check", "compare", "report", "new", "claims", "exhaustive", "worst-case",
    }  # fmt: skip
    codes = {e.name: int(e) for e in Exit}
    assert sorted(codes.values()) == [0, 1, 2, 3, 4, 130]
    plugins = {e.name: e.value for e in entry_points(group="pytest11")}
    assert plugins["softmax_bench"] == "harness.cli.pytest_plugin"


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: p.name)
def test_committed_runs_still_load(folder: Path) -> None:
    run = read_run(folder)
    assert run.records
    assert run.problems == []
    assert run.info.finished is not None


def _words(page: Path) -> str:
    """What a reader sees of a page, tables included, drawings not."""
    text = re.sub(r"<svg.*?</svg>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


@pytest.mark.parametrize(
    "folder",
    [pytest.param(f, marks=pytest.mark.slow) if f.name in LARGE else f for f in RUNS],
    ids=lambda p: p.name,
)
def test_committed_runs_still_render(folder: Path, tmp_path: Path) -> None:
    index = build([folder], tmp_path / "report")
    assert folder.name in _words(index)
    for page, figures in SHOWN[folder.name].items():
        text = _words(index.parent / f"{page}.html")
        assert [f for f in figures if f not in text] == []
    records = read_run(folder).records
    for experiment, count in Counter(r.experiment for r in records).items():
        table = index.parent / "data" / f"cells-{experiment}.csv"
        with open(table, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        of_it = Counter(r.status for r in records if r.experiment == experiment)
        assert Counter(row["status"] for row in rows) == of_it
    for name in {r.implementation for r in records if getattr(r, "role", "implementation")
                 == "implementation" and r.experiment != "claims"}:  # fmt: skip
        assert (index.parent / "implementations" / f"{name}.html").is_file()


def test_there_are_committed_runs() -> None:
    assert RUNS
