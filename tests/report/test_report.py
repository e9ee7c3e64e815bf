"""The report: content, gaps with reasons, untrusted text, determinism."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report_run
from site_pages import check_ids, check_links, pages, rows_of, text_of

from harness.report import ReportError, build, build_site
from harness.report.drawing import style as palette
from harness.report.pages import side_by_side
from harness.report.run_data import from_run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site([report_run.small_run()], tmp_path_factory.mktemp("report") / "site").parent


@pytest.mark.parametrize(
    "page", ["index", "accuracy", "overflow", "throughput", "machine", "method", "data"]
)
def test_every_page_is_written(site: Path, page: str) -> None:
    assert (site / f"{page}.html").stat().st_size > 1000


def test_matrix_holds_the_measured_figures(site: Path) -> None:
    row = {r["Implementation"]: r for r in rows_of(site / "data/matrix.csv")}
    assert float(row["naive"]["Last finite t in [t, 0] float32 t"]) == 88.72283172607422
    assert row["max_shift"]["Last finite t in [t, 0] float32 t"] == "never"
    assert row["naive"]["Largest error float32 ulp"] == "inf"
    assert float(row["max_shift"]["Largest error float32 ulp"]) == 5.7
    assert float(row["numba_cpu"]["Throughput, streaming bandwidth GB/s"]) == pytest.approx(
        14 * 4**0.7 * 1.15
    )


@pytest.mark.parametrize(
    ("name", "column", "status", "reason"),
    [
        ("cupy_gpu", "Largest error float32 ulp", "unavailable", "no CUDA device was found"),
        (report_run.HOSTILE, "Largest error float32 ulp", "crashed", "HYPERLINK"),
        ("max_shift", "Largest error float64 ulp", "not measured", "not in the plan"),
    ],
)
def test_a_gap_has_its_status_and_reason(
    site: Path, name: str, column: str, status: str, reason: str
) -> None:
    row = {r["Implementation"].lstrip("'"): r for r in rows_of(site / "data/matrix.csv")}[name]
    assert row[column] == status
    assert reason in row["notes"]
    assert reason in text_of(site / "index.html")


def test_a_timeout_is_told_where_its_maximum_stands(site: Path) -> None:
    assert "took longer than 60 s" in text_of(site / "index.html")


def test_gpu_implementation_was_compiled_not_run(site: Path) -> None:
    text = text_of(site / "implementations/cupy_gpu.html")
    assert "Not run on a GPU; compiled with NVRTC 13.0: sm_80 ok, sm_90 ok" in text


def test_failed_gate_is_struck_out_and_not_ranked(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    assert re.search(r'class="n struck"><s>0\.\d+</s>', html)
    assert "Struck out by the accuracy gate: two_pass" in text_of(site / "index.html")
    states = {r["Implementation"]: r["State"] for r in rows_of(site / "figures/pareto.csv")}
    assert states["two_pass"] == "struck out"
    assert states["numba_cpu"] == "ranked"


def test_naive_threshold_is_a_finding(site: Path) -> None:
    assert "naive stops being finite above t = 88.7228317" in text_of(site / "index.html")


def test_every_figure_has_its_files_alt_text_and_table(site: Path) -> None:
    names = set()
    for page in pages(site):
        html = page.read_text(encoding="utf-8")
        for source, alt in re.findall(r'<img src="([^"]+)" alt="([^"]*)"', html):
            assert len(alt) > 60
            figure = page.parent / source
            names.add(figure.stem)
            assert figure.with_suffix(".png").stat().st_size > 2000
            assert figure.with_suffix(".csv").stat().st_size > 50
        assert html.count("<img") <= html.count("<summary>The numbers behind")
    assert {"pareto", "ulp-float32", "map-float32", "ulp-scale"} <= names


def test_alt_text_says_what_the_data_say(site: Path) -> None:
    html = (site / "accuracy.html").read_text(encoding="utf-8")
    assert "2 to 1 000 000 classes" in html.replace("\u202f", " ")
    assert "(naive) and 14.7 ulp (log_sum_exp)" in html or "ulp (log_sum_exp)" in html


def test_links_stay_inside_the_site_and_exist(site: Path) -> None:
    check_links(site)


def test_ids_are_unique_on_a_page(site: Path) -> None:
    check_ids(site)


def test_tables_have_captions_and_scopes(site: Path) -> None:
    for page in pages(site):
        html = page.read_text(encoding="utf-8")
        assert html.count("<table") == html.count("<caption>"), page
        assert "<th>" not in html, page


def test_nothing_is_loaded_from_elsewhere_and_no_script_runs(site: Path) -> None:
    for path in [*pages(site), *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text.lower()
        assert not re.search(r'(?:src|srcset)="(?:https?:)?//', text)
        assert "@import" not in text
        assert "url(" not in text
        assert "javascript:alert" not in re.sub(r">[^<]*<", "><", text)


def test_hostile_markup_is_shown_as_text(site: Path) -> None:
    page = next(p for p in (site / "implementations").iterdir() if "script" in p.stem)
    html = page.read_text(encoding="utf-8")
    assert "&lt;/pre&gt;&lt;script&gt;1&lt;/script&gt;" in html
    assert "&lt;img src=x onerror=1&gt;" in html
    assert page.resolve().parent == (site / "implementations").resolve()


def test_hostile_names_do_not_enter_the_svg_unescaped(site: Path) -> None:
    for path in site.rglob("*.svg"):
        text = path.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert "script" not in text.lower()
        assert "<!--" not in text
        assert "<metadata" not in text


def test_a_figure_is_one_svg_that_the_style_sheet_darkens(site: Path) -> None:
    figures = list(site.rglob("figures/*.svg"))
    assert figures
    assert {p.stem for p in figures} == {p.stem for p in site.rglob("figures/*.png")}
    for path in figures:
        text = path.read_text(encoding="utf-8")
        assert palette.MUTED in text
        assert "prefers-color-scheme" not in text  # else the colours would be exchanged twice
    sheet = (site / "static/style.css").read_text(encoding="utf-8")
    dark = sheet.split("@media screen and (prefers-color-scheme: dark) {")[1].split("\n}\n")[0]
    assert "figure img { filter: invert(" in dark


def test_csv_cells_are_no_formulas(site: Path) -> None:
    for path in site.rglob("*.csv"):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    assert not cell.startswith(("=", "@", "|", "\t")), (path, cell)
                    if cell.startswith(("+", "-")):
                        float.fromhex(cell) if "x" in cell else float(cell)


def test_the_whole_run_is_there_to_download(site: Path) -> None:
    files = list((site / "data").glob("cells-*.csv"))
    assert {f.stem for f in files} == {"cells-accuracy", "cells-overflow", "cells-throughput"}
    assert sum(len(rows_of(f)) for f in files) == len(report_run.small_run().records)
    for file in files:
        columns = list(zip(*(r.values() for r in rows_of(file)), strict=True))
        assert all(any(column) for column in columns)


def test_noise_is_marked(site: Path) -> None:
    assert "noisy: a control at this point" in text_of(site / "throughput.html")


REBUILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from report_run import small_run
from harness.report import build_site
build_site([small_run()], Path(sys.argv[2]))
"""


def test_rebuilding_is_byte_identical(site: Path, tmp_path: Path) -> None:
    """The second time in another process."""
    again = tmp_path / "again"
    here = str(Path(report_run.__file__).parent)
    subprocess.run([sys.executable, "-c", REBUILD, here, str(again)], check=True, timeout=600)
    first = {p.relative_to(site): p.read_bytes() for p in site.rglob("*") if p.is_file()}
    second = {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert sorted(first) == sorted(second)
    assert [p for p in first if first[p] != second[p]] == []


def tiny_run(name: str, machine: str) -> report_run.SyntheticRun:
    records = [
        c
        for c in report_run.cells()
        if c["implementation"] in ("naive", "max_shift", "copy_regular")
        and c["dtype"] == "float32"
        and c["threads"] in (None, 4)
    ]
    made = report_run.run(records, id=name, machine={"slug": machine, "cpu": machine})
    return replace(made, problems=["cells.jsonl:7: not a record"])


def test_runs_of_different_machines_have_separate_pages(tmp_path: Path) -> None:
    runs = [tiny_run("../first", "Machine A"), tiny_run("second", "Machine B")]
    site = build_site(runs, tmp_path / "site").parent
    folders = sorted(p.parent for p in site.glob("*/throughput.html"))
    assert len(folders) == 2
    for folder in folders:
        text = text_of(folder / "throughput.html")
        assert ("Machine A" in text) != ("Machine B" in text)
        assert "cells.jsonl:7: not a record" in text_of(folder / "machine.html")
    index = text_of(site / "index.html")
    assert "Machine A" in index
    assert "Machine B" in index
    check_links(site)
    check_ids(site)


def _judged(name: str, errors: dict[str, float]) -> report_run.SyntheticRun:
    """One implementation's errors in float32, by the input that they belong to."""
    records = [
        {
            "experiment": "accuracy", "implementation": "max_shift", "operation": "softmax",
            "dtype": "float32", "device": "cpu", "workload": sha, "classes": 10, "rows": 3,
            "seed": 0, "status": "ok", "max_ulp": error, "input_sha256": sha,
        }
        for sha, error in errors.items()
    ]  # fmt: skip
    return report_run.run(records, id=name, machine={"slug": f"box-{name}", "cpu": name})


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ({"aa": 1.5, "bb": 9.0}, {"aa": 1.5, "cc": 7.0}, ["1", "1.50", "1.50", "equal"]),
        ({"aa": 1.5}, {"aa": 2.5}, ["1", "1.50", "2.50", "differ"]),
        ({"aa": 1.5}, {"cc": 1.5}, ["0", "no shared input", "no shared input", "–"]),
    ],
)
def test_errors_of_several_runs_stand_side_by_side(
    first: dict[str, float], second: dict[str, float], shown: list[str]
) -> None:
    runs = [from_run(_judged("a", first), "a/"), from_run(_judged("b", second), "b/")]
    (table,) = side_by_side.accuracy(runs)
    (row,) = table.rows
    assert [e.text for e in row] == ["max_shift", "float32", *shown]


def test_the_page_of_several_runs_has_errors_side_by_side_and_no_times(tmp_path: Path) -> None:
    runs = [_judged("a", {"aa": 1.5}), _judged("b", {"aa": 2.5})]
    site = build_site(runs, tmp_path / "site").parent
    text = text_of(site / "index.html").partition("softmax: largest errors, run beside run")[2]
    assert "box-a, a" in text
    assert "box-b, b" in text
    assert "differ" in text
    assert "GB/s" not in text
    text = (site / "data" / "side-by-side-softmax.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0].startswith("Implementation,Format,Shared inputs,")


def test_a_run_without_cells_says_so(tmp_path: Path) -> None:
    site = build_site([report_run.run([], finished=None, planned_cells=9)], tmp_path / "s").parent
    assert "Nothing to show" in text_of(site / "accuracy.html")
    index = text_of(site / "index.html")
    assert "Nothing to draw" in index
    assert "the run is incomplete" in index


def test_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    empty = report_run.run([])
    build_site([empty], tmp_path / "site")
    (tmp_path / "site" / "stale.html").write_text("old")
    build_site([empty], tmp_path / "site")
    assert not (tmp_path / "site" / "stale.html").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ReportError, match="holds other files"):
        build_site([report_run.run([])], tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_file_as_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ReportError, match="expected a folder"):
        build_site([report_run.run([])], tmp_path / "out")


def test_no_results_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        build([tmp_path], tmp_path / "out")
