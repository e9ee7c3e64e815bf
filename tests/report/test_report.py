"""The report: content, gaps with reasons, untrusted text, determinism."""

from __future__ import annotations

import base64
import csv
import hashlib
import html as markup
import json
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report_run
from report_pages import check_ids, check_links, csv_rows, pages, rows_of, text_of, zipped

from harness.report import ReportError, build, build_site
from harness.report.across import side_by_side
from harness.report.drawing import style as palette
from harness.report.run_data import from_run


@pytest.mark.parametrize(
    "page", ["index", "accuracy", "overflow", "throughput", "machine", "method", "data"]
)
def test_every_page_is_written(site: Path, page: str) -> None:
    assert (site / f"{page}.html").stat().st_size > 1000


def test_matrix_holds_the_measured_figures(site: Path) -> None:
    row = {r["Implementation"]: r for r in rows_of(site, "matrix")}
    assert float(row["naive"]["last finite t [t, 0], float32"]) == 88.72283172607422
    assert row["max_shift"]["last finite t [t, 0], float32"] == "never"
    assert row["naive"]["Largest error found float32 ulp"] == "inf"
    assert float(row["max_shift"]["Largest error found float32 ulp"]) == 5.7
    (speed,) = (column for column in row["numba_cpu"] if column.endswith("bandwidth GB/s"))
    assert speed.startswith("Speed: float32, 4 threads, streaming, n = 1000")
    assert float(row["numba_cpu"][speed]) == pytest.approx(14 * 4**0.7 * 1.15)


def test_matrix_has_the_available_ones_the_fastest_first(site: Path) -> None:
    names = [r["Implementation"].lstrip("'") for r in rows_of(site, "matrix")]
    speeds = {**report_run.SPEEDS, "naive": report_run.SPEEDS["naive"] / 1.2}  # it allocates
    ranked = sorted(speeds.keys() - {"two_pass"}, key=lambda n: -speeds[n])
    assert names == [*ranked, "two_pass", report_run.HOSTILE]


@pytest.mark.parametrize(
    ("name", "column", "status", "reason"),
    [
        (report_run.HOSTILE, "Largest error found float32 ulp", "crashed", "HYPERLINK"),
        ("online", "Largest error found float32 ulp", "not measured", "not in the plan"),
    ],
)
def test_a_gap_has_its_status_and_reason(
    site: Path, name: str, column: str, status: str, reason: str
) -> None:
    row = {r["Implementation"].lstrip("'"): r for r in rows_of(site, "matrix")}[name]
    assert row[column] == status
    assert reason in row["notes"]
    assert reason in text_of(site / "index.html")


def test_what_could_not_run_stands_once_with_its_reason_and_every_page_leads_there(
    site: Path,
) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    absent = html.partition('<details id="absent">')[2].partition("</details>")[0]
    assert text_of(absent).endswith("cupy_gpu : no CUDA device was found ")
    assert '<a href="implementations/cupy_gpu.html">' in absent
    assert "no CUDA device was found" in text_of(site / "implementations/cupy_gpu.html")
    for page in ("accuracy", "overflow", "throughput", "limits"):
        html = (site / f"{page}.html").read_text(encoding="utf-8")
        assert "no CUDA device was found" not in html
        assert '<a href="index.html#absent">1 implementation' in html
    index = (site / "index.html").read_text(encoding="utf-8")
    assert index.count("no CUDA device was found") == 1


def test_a_timeout_is_told_where_its_maximum_stands(site: Path) -> None:
    assert "took longer than 60 s" in text_of(site / "index.html")


def test_gpu_implementation_was_compiled_not_run(site: Path) -> None:
    text = text_of(site / "implementations/cupy_gpu.html")
    assert "Not run on a GPU; compiled with NVRTC 13.0: sm_80 ok, sm_90 ok" in text


def test_failed_gate_is_struck_out_and_not_ranked(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<td class="struck"><s>0\.\d+</s>', html)
    assert "Struck out by the accuracy gate: two_pass" in text_of(site / "index.html")
    states = {r["Implementation"]: r["State"] for r in rows_of(site, "pareto-table")}
    assert states["two_pass"] == "struck out"
    assert states["numba_cpu"] == "ranked"


def test_naive_threshold_is_a_finding(site: Path) -> None:
    assert "naive stops being finite above t = 88.7228317" in text_of(site / "index.html")


def figures_of(site: Path) -> set[str]:
    """The names of all figures, each of which has a text, a file and a table."""
    names = set()
    for page in pages(site):
        html = page.read_text(encoding="utf-8")
        figures = re.findall(r'<div class="stage"><svg [^>]*aria-label="([^"]*)"', html)
        files = re.findall(r'class="files" href="([^"]+)"', html)
        assert len(files) == len(figures)
        for text, file in zip(figures, files, strict=True):
            assert len(text) > 60
            assert (page.parent / file).stat().st_size > 2000
            assert rows_of(site, f"{Path(file).stem}-table")
            names.add(Path(file).stem)
        assert len(figures) <= html.count("<summary>The numbers behind")
    return names


def test_every_figure_has_a_file_a_text_and_a_table(site: Path) -> None:
    assert {"pareto", "ulp", "lifelines", "ulp-scale"} <= figures_of(site)


def test_alt_text_says_what_the_data_say(site: Path) -> None:
    html = (site / "accuracy.html").read_text(encoding="utf-8")
    (text,) = re.findall(r'<svg [^>]*aria-label="(Largest error against class[^"]*)"', html)
    text = text.replace("\u202f", " ")
    assert "float32: 6 implementations, 2 to 1 000 000 classes." in text
    assert "from 1.80 ulp (naive) to 12.6 ulp (log_sum_exp)" in text
    assert "bfloat16: 6 implementations" in text


def test_no_text_of_a_figure_has_lost_a_character(site: Path) -> None:
    """A space that the figures' font lacks is no question mark."""
    for page in pages(site):
        for figure in re.findall(r"<svg .*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL):
            assert not re.search(r"[0-9]\?[0-9]", figure), page


def test_links_stay_inside_the_site_and_exist(site: Path) -> None:
    check_links(site)


def test_ids_are_unique_on_a_page(site: Path) -> None:
    check_ids(site)


def test_every_table_of_a_page_is_in_the_archive(site: Path) -> None:
    names = zipped(site / "data/tables.zip").keys()
    shown = {
        table
        for page in pages(site)
        for table in re.findall(
            r'<div class="tablewrap" id="([^"]+)"', page.read_text(encoding="utf-8")
        )
    }
    assert len(shown) > 40
    assert {t for t in shown if f"csv/{t}.csv" not in names} == set()


def test_the_archive_is_named_on_the_data_page_with_each_of_its_tables(site: Path) -> None:
    html = (site / "data.html").read_text(encoding="utf-8")
    listed = re.findall(r"<li><code>([^<]+)</code>: ", html)
    assert [f"csv/{name}.csv" for name in listed] == [
        n for n in zipped(site / "data/tables.zip") if n.startswith("csv/")
    ]
    assert '<a href="data/tables.zip">' in html


def test_tables_have_captions_and_scopes(site: Path) -> None:
    for page in pages(site):
        html = page.read_text(encoding="utf-8")
        assert html.count("<table") == html.count("<caption>"), page
        assert "<th>" not in html, page


PLAIN = {"cupy_gpu", "machine", "method", "data"}
"""Pages that have nothing to choose: of one that could not run, and of lists."""


def test_nothing_is_loaded_from_elsewhere_and_no_script_runs_but_the_known_one(site: Path) -> None:
    for path in [*pages(site), *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        data = re.findall(r'<script type="application/json" id="[a-z-]+">(.*?)</script>', text)
        assert text.lower().count("<script") == len(scripts) + len(data)
        allowed = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
        if path.suffix == ".html":
            policy = f"'sha256-{allowed[0]}'" if scripts else "'none'"
            assert f'content="script-src {policy}; ' in markup.unescape(text), path
            assert bool(scripts) == (path.stem not in PLAIN)
        assert len(scripts) <= (path.suffix == ".html")
        assert all(json.loads(block) for block in data)
        assert not re.search(r'(?:src|srcset)="(?:https?:)?//', text)
        assert "@import" not in text
        assert not re.search(r"url\((?!#)", text)
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


def test_one_svg_serves_light_and_dark_pages(site: Path) -> None:
    figures = list(site.rglob("figures/*.svg"))
    assert figures
    sheet = (site / "static/style.css").read_text(encoding="utf-8")
    for text in [*(f.read_text(encoding="utf-8") for f in figures), sheet]:
        light, _, dark = text.partition("@media screen and (prefers-color-scheme:dark){")
        for colour, name in palette.VARIABLES.items():
            if text is sheet or f"var(--{name})" in text:
                assert f"--{name}:{colour};" in light
                assert f"--{name}:#" in dark
    for page in pages(site):
        figures_of = re.findall(r"<svg .*?</svg>", page.read_text(encoding="utf-8"), re.DOTALL)
        for text in figures_of:
            named = set(re.findall(r"var\(--([a-z0-9-]+)\)", text)) - {"c"}
            assert named <= set(palette.VARIABLES.values())


def test_csv_cells_are_no_formulas(site: Path) -> None:
    found = [zipped(path) for path in site.rglob("*.zip")]
    texts = [text for files in found for n, text in files.items() if n.endswith(".csv")]
    assert len(texts) > 20
    for cell in (cell for text in texts for row in csv.reader(StringIO(text)) for cell in row):
        assert not cell.startswith(("=", "@", "|", "\t")), cell
        if cell.startswith(("+", "-")):
            float.fromhex(cell) if "x" in cell else float(cell)


def test_the_whole_run_is_there_to_download(site: Path) -> None:
    files = zipped(site / "data" / "records.zip")
    assert list(files) == [f"cells-{e}.csv" for e in ("accuracy", "overflow", "throughput")]
    found = [csv_rows(text) for text in files.values()]
    assert sum(map(len, found)) == len(report_run.small_run().records)
    for rows in found:
        columns = list(zip(*(r.values() for r in rows), strict=True))
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


@pytest.mark.parametrize("experiment", ["accuracy", "overflow", "throughput"])
def test_a_run_of_one_experiment_leads_to_no_page_of_another(
    tmp_path: Path, experiment: str
) -> None:
    made = tiny_run("one", "Machine A")
    records = [c for c in made.records if c.experiment == experiment]
    site = build_site([replace(made, records=records)], tmp_path / "site").parent
    shown = {p.stem for p in site.glob("*.html")} - {"index", "machine", "method", "data"}
    assert shown - {"limits"} == {experiment}
    check_links(site)
    check_ids(site)
    assert figures_of(site)


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
    assert [p.stem for p in sorted(site.glob("*.html"))] == ["data", "index", "machine", "method"]
    assert "<svg" not in (site / "index.html").read_text(encoding="utf-8")
    assert "the run is incomplete" in text_of(site / "index.html")


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


@pytest.mark.parametrize(
    "changes",
    [{"gbps": "Infinity"}, {"speedup": -1.0}, {"median_ns": 0.0, "best_ns": 0.0}, {"classes": -5}],
    ids=str,
)
def test_a_timing_that_no_measurement_gives_is_an_error_with_its_reason(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    timings = [c for c in report_run.cells() if c["experiment"] == "throughput"]
    wrong = [{**c, **changes} if c["implementation"] == "numba_cpu" else c for c in timings]
    site = build_site([report_run.run(wrong)], tmp_path / "site").parent
    assert "no measurement gives" in text_of(site / "throughput.html")
    (row,) = [r for r in rows_of(site, "matrix") if r["Implementation"] == "numba_cpu"]
    assert "no measurement gives" in row["notes"]
    assert "numba_cpu is the fastest" not in text_of(site / "index.html")


def test_who_was_judged_on_less_is_not_the_most_accurate(tmp_path: Path) -> None:
    cells = [c for c in report_run.cells() if c["experiment"] == "accuracy"]
    whole = ("max_shift", "torch")
    few = [c for c in cells if c["implementation"] == "naive"][:3]
    kept = [*few, *(c for c in cells if c["implementation"] in whole)]
    site = build_site([report_run.run(kept)], tmp_path / "site").parent
    html = (site / "index.html").read_text(encoding="utf-8")
    rows = dict(re.findall(r'data-i="([a-z_]+)">(.*?)</tr>', html, re.DOTALL))
    assert "best" not in rows["naive"]
    assert "best" in rows["max_shift"] + rows["torch"]


def test_an_interrupt_while_the_old_site_goes_leaves_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = report_run.run([])
    build_site([empty], tmp_path / "site")
    whole = {p.name for p in (tmp_path / "site").iterdir()}

    def interrupted(path: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["harness.report.build"].shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_site([empty], tmp_path / "site")
    monkeypatch.undo()
    assert {p.name for p in (tmp_path / "site").iterdir()} == whole
    assert build_site([empty], tmp_path / "site").is_file()
