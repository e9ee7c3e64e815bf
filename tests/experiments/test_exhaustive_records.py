"""Exhaustive tables and searches as records of a run: the store, the report, interruption."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import report_run
import typer
from report_pages import rows_of
from typer.testing import CliRunner

from harness.cli.exhaustive import exhaustive as exhaustive_command
from harness.cli.worst_case import worst_case as worst_case_command
from harness.experiments.exhaustive.plan import Tables
from harness.experiments.exhaustive.run import run_exhaustive
from harness.experiments.exhaustive.tables import DTYPES, TABLES, formats
from harness.records import ExhaustiveRecord, WorstCaseRecord
from harness.records.reader import read_run, read_runs
from harness.report import build, build_site
from harness.report.pages import exhaustive, worst_cases
from harness.report.pages.findings import findings
from harness.report.run_data import from_run


@pytest.mark.parametrize(
    "package", ["claims.audit", "exhaustive.run", "worst_case.search", "conformance.catalogue"]
)
def test_an_experiment_can_be_the_first_to_be_imported(package: str) -> None:
    """They call workers as the experiments do, which in turn make records of them."""
    done = subprocess.run(
        [sys.executable, "-c", f"import harness.experiments.{package}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def command(function: Any, *arguments: object) -> Any:
    app = typer.Typer()
    app.command()(function)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def data(cells: list[dict[str, Any]]) -> Any:
    return from_run(report_run.run(cells), "")


def pairs(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "experiment": "exhaustive", "implementation": name, "dtype": "float16", "device": "cpu",
        "workload": "pairs", "table": "pairs", "classes": 2, "status": "ok", "judged": 16,
        "total": 16, "exhaustive": True, "misrounded": [3, 4], "max_ulp": 0.75, "workers": 2,
        "ulp_histogram": {"0": 1, "<=0.5": 24, "<=1": 7, "<=2": 0, "<=4": 0, ">4": 0, "wrong": 0},
        "worst_logits": ["0x1.0p+0", "0x1.8p+1"], "worst_class": 1, "worst_got": "0x1.2p-1",
        "worst_expected": "0x1.4p-1", "elapsed_s": 12.0, **changes,
    }  # fmt: skip


def search(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "experiment": "worst_case", "implementation": name, "dtype": "float32", "device": "cpu",
        "workload": "search", "classes": 2, "seed": 7, "kind": "search", "status": "ok",
        "bound": "shift_divide", "error_over_bound": 0.8, "error_ulp": 20.0, "bound_ulp": 25.0,
        "evaluations": 256, "origin": "wide normal", "worst_logits": ["0x1.0p+0", "0x1.8p+1"],
        "worst_class": 0, "worst_got": "0x1.2p-9", "worst_expected": "0x1.4p-9", **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one sample of the pairs, and of one search."""
    folder = tmp_path_factory.mktemp("kept")
    options = ("--results", folder, "--machine", "box", "--no-report")
    sample = ("-i", "max_shift", "-i", "scipy", "--dtype", "float16", "--dtype", "bfloat16",
              "--every", 4000, "--workers", 1)  # fmt: skip
    assert command(exhaustive_command, *sample, *options).exit_code == 0
    assert command(worst_case_command, "max_shift", "--evaluations", 128, *options).exit_code == 0
    return folder


def test_both_commands_write_runs_that_are_finished(kept: Path) -> None:
    first, second = read_runs([kept])
    assert first.info.finished
    assert second.info.finished
    assert not first.problems + second.problems
    assert first.info.filters["every"] == 4000
    assert first.info.planned_cells == len(first.records) == 4
    assert {r.status for r in first.records} == {"ok", "unsupported"}
    (found,) = second.records
    assert isinstance(found, WorstCaseRecord)
    assert found.kind == "search"
    assert sorted(p.name for p in first.path.iterdir()) == ["cells.jsonl", "run.json"]


def test_a_sample_is_recorded_as_a_lower_bound(kept: Path) -> None:
    record = read_runs([kept])[0].records[0]
    assert isinstance(record, ExhaustiveRecord)
    assert record.exhaustive is False
    assert record.judged is not None
    assert record.total == 63488**2
    assert record.judged < record.total


def test_the_search_is_found_again_by_the_command_of_the_report(kept: Path) -> None:
    run = read_runs([kept])[1]
    record = run.records[0]
    assert isinstance(record, WorstCaseRecord)
    again = worst_cases.command(record)
    words = shlex.split(again)
    assert words[:2] == ["softmax-bench", "worst-case"]
    result = command(worst_case_command, *words[2:], "--no-keep")
    assert result.exit_code == 0
    assert isinstance(record, WorstCaseRecord)
    assert " ".join(record.worst_logits or ()) in result.output


def test_several_runs_are_one_site(kept: Path, tmp_path: Path) -> None:
    index = build([kept], tmp_path / "site")
    pages = {p.name for p in index.parent.glob("*/*.html")}
    assert {"exhaustive.html", "worst_case.html"} <= pages


def test_an_interrupted_table_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--results", tmp_path, "--machine", "box", "--no-report")
    sample = ("-i", "max_shift", "--every", 2000, "--workers", 1)
    real = run_exhaustive
    seen: list[int] = []

    def interrupted(*arguments: Any, **more: Any) -> Any:
        def stop(done: int, total: int) -> None:
            seen.append(done)
            if len(seen) == 1:
                raise KeyboardInterrupt

        return real(*arguments, **{**more, "on_progress": stop})

    monkeypatch.setattr("harness.experiments.exhaustive.run.run_exhaustive", interrupted)
    result = command(exhaustive_command, *sample, *options)
    assert result.exit_code == 130
    (folder,) = (p.parent for p in tmp_path.rglob("run.json"))
    assert f"--resume {folder}" in result.output
    assert list(folder.glob("*.npz")) or list(folder.glob(".*.npz"))
    again = command(exhaustive_command, "--resume", folder, *options)
    assert again.exit_code == 0
    assert seen[1] > seen[0]
    (record,) = read_run(folder).records
    whole = real("max_shift", "pairs", "float16", workers=1, every=2000)
    assert record == whole.model_copy(update={"elapsed_s": record.elapsed_s})
    assert not list(folder.glob(".*.npz"))
    finished = command(exhaustive_command, "--resume", folder, *options)
    assert finished.exit_code == 2


@pytest.mark.parametrize(
    ("asked", "table", "expected"),
    [
        (Tables(), "pairs", ("float16",)),
        (Tables(dtypes=("bfloat16", "float64")), "pairs", ("bfloat16",)),
        (Tables(dtypes=("float64",)), "pairs", ()),
    ],
)
def test_the_formats_of_a_table(asked: Tables, table: Any, expected: tuple[str, ...]) -> None:
    assert formats(table, asked.dtypes) == expected


def test_a_format_that_a_table_lacks_is_refused(tmp_path: Path) -> None:
    result = command(exhaustive_command, "-i", "max_shift", "--dtype", "float64")
    assert result.exit_code == 2


def test_the_report_tells_a_true_maximum_from_a_lower_bound(tmp_path: Path) -> None:
    run = data([pairs("max_shift"), pairs("torch", exhaustive=False, judged=8),
                pairs("scipy", status="crashed", reason="SIGSEGV", exhaustive=False, judged=4),
                pairs("jax", status="unavailable", reason="no jax", judged=None)])  # fmt: skip
    table = exhaustive.judged_table(run, "pairs")
    shown = {str(r[0].text): {c.header: e for c, e in zip(table.columns, r, strict=True)}
             for r in table.rows}  # fmt: skip
    assert shown["max_shift"]["Largest error"].detail == "true maximum"
    assert shown["max_shift"]["Misrounded"].text == "3 + 4"
    assert shown["torch"]["Largest error"].detail == "lower bound"
    assert "SIGSEGV" in (shown["scipy"]["Rows judged"].note or "")
    assert shown["jax"]["Largest error"].kind == "missing"
    assert "no jax" in table.footnotes[-1]


def test_wrong_results_stand_out() -> None:
    counts = {**pairs("x")["ulp_histogram"], "wrong": 5}
    table = exhaustive.judged_table(data([pairs("max_shift", ulp_histogram=counts,
                                                max_ulp="Infinity")]), "pairs")  # fmt: skip
    kinds = {c.header: e for c, e in zip(table.columns, table.rows[0], strict=True)}
    assert kinds["Wrong"].kind == "bad"
    assert kinds["Largest error"].text == "∞"


def test_a_ratio_beyond_the_bound_stands_out_and_is_told() -> None:
    run = data([search("max_shift"), search("torch", status="failed", reason="1.5 times the bound",
                                            error_over_bound=1.5)])  # fmt: skip
    table = worst_cases.searched(run)
    assert table is not None
    kinds = {r[0].text: r[3].kind for r in table.rows}
    assert kinds == {"max_shift": "", "torch": "bad"}
    told = {f.topic: f.text for part in findings(run) for f in part}
    assert told["Worst cases"] == "Beyond the bound in 2 rows tried: torch."


def test_the_corpus_is_told_by_implementation() -> None:
    entries = [search("max_shift", kind="replay", entry=f"{i:012x}", workload=f"corpus {i:012x}",
                      error_over_bound=i / 10, seed=None) for i in range(1, 4)]  # fmt: skip
    table = worst_cases.replayed(data(entries))
    assert table is not None
    ((name, dtype, rows, failed, lost, ratio, _, again),) = table.rows
    assert (name.text, dtype.text, rows.raw, failed.raw) == ("max_shift", "float32", 3, 0)
    assert lost.raw == 0
    assert ratio.raw == pytest.approx(0.3)
    assert again.text == "softmax-bench worst-case max_shift --replay 000000000003"


def test_a_row_beyond_a_declared_range_is_no_largest_ratio() -> None:
    why = "out of range, as declared: overflow"
    lost = search("naive", kind="replay", entry="0" * 12, workload="corpus " + "0" * 12,
                  error_over_bound="Infinity", reason=why)  # fmt: skip
    kept = search("naive", kind="replay", entry="1" * 12, workload="corpus " + "1" * 12)
    run = data([lost, kept])
    table = worst_cases.replayed(run)
    assert table is not None
    assert [e.raw for e in table.rows[0][2:6]] == [2, 0, 1, 0.8]
    assert "0.800 (naive" in (worst_cases.told(run) or "")


def test_a_run_without_them_has_no_such_pages(tmp_path: Path) -> None:
    site = build_site([report_run.run(report_run.accuracy_cells()[:3])], tmp_path / "s").parent
    assert not (site / "exhaustive.html").exists()
    assert not (site / "worst_case.html").exists()
    assert "Exhaustive" not in (site / "index.html").read_text(encoding="utf-8")


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    run = report_run.run([pairs(report_run.HOSTILE), search(report_run.HOSTILE)])
    site = build_site([run], tmp_path / "s").parent
    for name in ("exhaustive", "worst_case"):
        assert "<script>alert" not in (site / f"{name}.html").read_text(encoding="utf-8")
    (row,) = rows_of(site, "exhaustive-pairs")
    assert not row["Implementation"].startswith("=")


def test_every_table_has_a_title_and_formats() -> None:
    assert set(exhaustive.TITLES) == set(TABLES) == set(DTYPES)
