"""What others rely on: the names of the package, the commands, their exit codes, committed runs."""

from __future__ import annotations

import html
import importlib
import inspect
import re
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import typer
from report_pages import csv_rows, zipped

import harness
from harness.cli.app import app
from harness.cli.exits import Exit
from harness.records import Measured
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

OPTIONS = {
    "list": "",
    "run": "-i --baseline --classes --dtype --experiment --implementation --logits --machine "
    "--no-report --operation --other-workers --precision --processes --profile --regime --report "
    "--reports --results --resume --scheduler --seconds --seed --threads --timings --workload",
    "check": "-v --baseline --dtype --fail-fast --json --markdown --no-timing --report --results "
    "--strict --timing --verbose",
    "show": "",
    "compare": "--accuracy-factor --across-machines --json --markdown --strict --threshold",
    "report": "-o --export --output",
    "new": "--folder",
    "claims": "--details --json",
    "reproduce": "--json --logits --machine --no-report --report --reports --results --seconds",
    "exhaustive": "-i --dtype --every --implementation --json --keep --machine --no-keep "
    "--no-report --other-workers --report --reports --results --resume --scheduler --table "
    "--workers",
    "train": "-i -q --dtype --implementation --json --machine --no-report --profile --question "
    "--report --reports --results --resume --seed --seeds",
    "vectors": "-o --dtype --operation --output --seed",
    "worst-case": "-n --classes --corpus --dtype --evaluations --keep --machine --no-keep "
    "--no-report --other-workers --replay --report --reports --results --save --scheduler "
    "--seconds --seed",
}
"""What each command takes beside `--help` and `--debug`, which all have."""

COLUMNS = {
    "a cell": "run machine experiment implementation operation dtype device threads workload "
    "classes rows seed status reason elapsed_s host",
    "accuracy": "elements max_ulp p50_ulp p99_ulp p999_ulp bias_ulp correctly_rounded "
    "max_relative normwise_relative max_absolute sum_residual kl_divergence total_variation "
    "flushed_count flushed_mass wrong_argmax wrong_order nonfinite outcome bound bound_ulp "
    "bound_ulp_at_worst error_over_bound deviation published_bound published_bound_ulp "
    "error_over_published exp_error_u worst_row worst_class worst_logit worst_got "
    "worst_expected rows_at_once classes_at_once input_sha256 witness diagnosis",
    "overflow": "kind probe sign event occurs last_good last_good_hex first_bad first_bad_hex "
    "got_at_first_bad expected_at_first_bad tolerance_ulp evaluations offset",
    "throughput": "regime role allocating cache array_bytes moved_bytes beside fits samples_ns "
    "visits visits_at visits_s processes calls_per_sample first_call_ns warm_up_ns warm_up_calls "
    "warm_up_settled warnings best_ns best_low_ns median_ns ci_low_ns ci_high_ns gbps gbps_low "
    "gbps_high baseline speedup speedup_low speedup_high precision undecided limit "
    "percent_of_limit gate_ulp gate_error_over_bound ranked noisy implausible preemptions "
    "threads_found cores spins_ms disturbed processors_used page_faults instructions cycles "
    "cache_misses input_placement output_placement peak_extra_bytes peak_method conditions "
    "input_seed unseen_ns repeated_ns unseen_cpu_ns repeated_cpu_ns wanted_bytes",
    "device_throughput": "buffers device_name clock passes after_ns host_to_device_ns "
    "device_to_host_ns transfer_bytes clock_before clock_after",
    "exhaustive": "table domain judged total exhaustive every workers misrounded ulp_histogram "
    "worst_logits worst_repeat rounding figures",
    "worst_case": "in_batch origin entry nonfinite_logits",
    "training": "setting route steps loss accuracy calibration_error training_accuracy "
    "first_nonfinite nonfinite logit_before logit_at gap_before gap_at predicted predicted_gap "
    "zero_loss zero_gradient gap_collapsed gap_alive layer_factor spike_ratio accuracy_before "
    "weights head_ns step_ns curves",
    "attention": "parameter value leaked empty_rows over first_bad_logits first_bad_scale other "
    "max_ratio likely_ratio kl argmax_differs same_bits maxima_wrong order_ulp parts together "
    "points result norm_u total_variation misrounded_float32 misrounded_float16 "
    "misrounded_bfloat16 misrounded_float8_e4m3fn misrounded_float8_e5m2",
    "claims": "claim claim_kind source_id source_title place source_setting claimed certified "
    "verdict because derivation note differs numbers findings tables",
    "conformance": "case number title message deviation_reason case_input got expected error_ulp "
    "allowed_ulp observations others upstream",
}
"""Columns of `read_results`, each under the first experiment that has it."""

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
    "20261201T034322Z-bf0bc6": {
        "index": ["65.8", "7720", "88.7228317", "63.5"],
        "accuracy": ["98.1", "31.0"],
        "overflow": ["32767.6504"],
        "throughput": ["0.9902 [0.9678, 1.013]", "10.4 [9.97, 10.9]"],
    },
    "20261130T092319Z-e32166": {"training": ["93.9 ± 0.93%", "25 of 25 pairs", "627 of 627"]},
    "20261130T141641Z-10ace5": {
        "attention": ["None of 1644 cells", "2.48", "same bits", "doubled from power 9", "4900 u"]
    },
    "20261130T134230Z-c7ef64": {"throughput": ["44.2 µs", "12.2 [10.9, 12.9]", "90.6 µs"]},
    "20261130T165403Z-0f1eac": {"throughput": ["~0.863 [0.839, 0.888]", "faster at 16 777 216"]},
    "20261130T165746Z-b5e73f": {"throughput": ["34.7 [33.7, 35.7]", "2.44 [2.39, 2.55]"]},
    "20261130T170201Z-710f4e": {"throughput": ["1.37 [1.32, 1.42]", "1.26 [1.24, 1.30]"]},
    "20261130T170551Z-5d8445": {"throughput": ["5.28 [5.20, 5.45]", "2.45 [2.37, 2.61]"]},
    "20261130T202558Z-6f529b": {"exhaustive": ["73 + 73", "2.825"]},
    "20261130T205138Z-2bfd94": {"exhaustive": ["19 245", "2.54", "0.568"]},
    "20261130T211653Z-b29efc": {"exhaustive": ["1 695 190 795", "4.17457"]},
    "20261130T205337Z-eaba36": {"exhaustive": ["154 002", "0.501207"]},
    "20261130T230853Z-a7f38a": {"claims": ["507.6 u", "475 of 2500", "1863"]},
    "20261130T230959Z-e22f03": {"claims": ["0.885 [0.83, 0.944]", "1.24 [1.17, 1.36]"]},
    "20261201T002213Z-778452": {"claims": ["1.19 [1.15, 1.25]", "1.38 [1.29, 1.46]"]},
    "20261122T151557Z-044bea": {"conformance": ["exp(x) overflows for large logits", "469", "347"]},
    "20261130T230048Z-d35c44": {"conformance": ["the sum has stalled or overflowed", "168", "87"]},
    "20261122T180355Z-872f7f": {"throughput": ["34.6 µs", "30.3 [27.4, 34.6]", "2.51"]},
    "20261122T210349Z-4b19fd": {"throughput": ["36.3 µs", "28.9 [22.4, 37.3]", "2.36"]},
}
"""Some figures of each committed run, and the page of its report that has them."""

LARGE = {"20261122T142723Z-200faf", "20261122T151557Z-044bea", "20261122T180355Z-872f7f",
         "20261122T210349Z-4b19fd", "20261201T034322Z-bf0bc6",
         "20261130T092319Z-e32166", "20261130T230048Z-d35c44"}  # fmt: skip


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
    assert harness.__version__ == "0.2.0"


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
        "list", "run", "check", "show", "compare", "report", "new", "claims", "exhaustive",
        "train", "reproduce", "vectors", "worst-case",
    }  # fmt: skip
    codes = {e.name: int(e) for e in Exit}
    assert sorted(codes.values()) == [0, 1, 2, 3, 4, 130]
    plugins = {e.name: e.value for e in entry_points(group="pytest11")}
    assert plugins["softmax_bench"] == "harness.cli.pytest_plugin"


@pytest.mark.parametrize("name", OPTIONS)
def test_each_command_has_the_options_that_it_had(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = [p for p in command.params if p.param_type_name == "option"]
    found = {spelt for p in options for spelt in (*p.opts, *p.secondary_opts)}
    assert found - {"--help"} == {"--debug", *OPTIONS[name].split()}


def test_read_results_has_the_columns_that_it_had() -> None:
    wanted = {column for columns in COLUMNS.values() for column in columns.split()}
    frame = harness.read_results(ROOT / "results")
    assert set(frame.columns) <= wanted  # of runs that have every experiment all of them:
    fields = (field for model in get_args(Measured) for field in model.model_fields)
    assert {"run", "machine", *fields} == wanted
    assert list(frame.columns)[:16] == COLUMNS["a cell"].split()
    assert set(frame["experiment"]) <= set(COLUMNS)


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
    stored = zipped(index.parent / "data" / "records.zip")
    for experiment, count in Counter(r.experiment for r in records).items():
        rows = csv_rows(stored[f"cells-{experiment}.csv"])
        assert len(rows) == count
        of_it = Counter(r.status for r in records if r.experiment == experiment)
        assert Counter(row["status"] for row in rows) == of_it
    for name in {r.implementation for r in records if getattr(r, "role", "implementation")
                 == "implementation" and r.experiment != "claims"}:  # fmt: skip
        assert (index.parent / "implementations" / f"{name}.html").is_file()


def test_there_are_committed_runs() -> None:
    assert RUNS
