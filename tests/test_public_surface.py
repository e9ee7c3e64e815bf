"""What others rely on: the names of the package, the commands, their exit codes, committed runs."""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import typer

import harness
from harness.cli.app import app
from harness.cli.exits import Exit
from harness.records.reader import read_run

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


def test_there_are_committed_runs() -> None:
    assert RUNS
