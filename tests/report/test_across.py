"""Pages of a site of many runs: known records of several runs in, expected words out."""

from __future__ import annotations

import gzip
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import report_run
from many_runs import BOX, Cells, cells, error, store, timing
from report_pages import check_ids, check_links, csv_rows, pages, text_of
from report_run import FAILURE, case

from harness.cli.report import compared, judge
from harness.comparison.render import to_markdown
from harness.machine import description
from harness.records.reader import ResultsWarning, find_runs, read_run
from harness.registry.discovery import implementations
from harness.report import build
from harness.report.across import history, kept, libraries, pairs, runs
from harness.report.across.compared import predecessors
from harness.report.across.plan import Across
from harness.report.across.stored import Stored
from harness.report.run_data import RunData, from_run

HOSTILE = report_run.HOSTILE
RESULTS = Path(__file__).parents[2] / "results"


def data(folder: Path) -> RunData:
    return from_run(read_run(folder), f"{folder.name}/")


def over_days(results: Path, *days: Cells, **changes: Any) -> list[RunData]:
    """A run a day of one machine."""
    return [data(store(results, f"run-{k}", day, k, **changes)) for k, day in enumerate(days, 1)]


# --- what is kept ---


def test_what_is_kept_of_a_run_gives_the_same_pages_as_all_of_it(tmp_path: Path) -> None:
    records = [
        *report_run.accuracy_cells(),
        *report_run.overflow_cells(),
        *report_run.throughput_cells(),
        case("torch", "1-masked", "failure", **FAILURE),
        case("torch", "2-passed", "pass"),
        case("torch", "2-passed", "pass", dtype="float64"),
    ]
    folder = store(tmp_path / "results", "run", records)
    run = read_run(folder)
    kept.write(run.records, ["a line"], tmp_path / "site")
    problems, records_ = kept.read(tmp_path / "site")
    assert problems == ["a line"]
    assert 0 < len(records_) < len(run.records) / 2
    brief, whole = (
        from_run(read_run(folder).__class__(folder, run.info, found, []), "run/")
        for found in (records_, run.records)
    )
    assert brief.implementations == whole.implementations
    assert runs.page([brief]) == runs.page([whole])
    assert runs.most_accurate(whole) is not None


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (gzip.compress(b'[[], [{"experiment": "accuracy"}]]', mtime=0), "implementation"),
        (b"[[], []]", "not as it was written"),
        (gzip.compress(b"[[], []]", mtime=0)[:-9], "not as it was written"),
    ],
)
def test_a_damaged_file_of_what_is_kept_is_told(tmp_path: Path, stored: bytes, told: str) -> None:
    (tmp_path / kept.FILE).write_bytes(stored)
    with pytest.raises(ValueError, match=told):
        kept.read(tmp_path)


# --- the first page ---


def test_runs_stand_by_machine_and_newest_first(tmp_path: Path) -> None:
    store(tmp_path / "r", "a-old", cells(2.0), 1)
    store(tmp_path / "r", "a-new", [*cells(3.0), error("fast", 9.0, "bb", status="failed",
          reason="beyond its bound")], 3)  # fmt: skip
    store(tmp_path / "r", "b-one", cells(5.0, 0.5), 2, machine={**BOX, "slug": "other"})
    site = build([tmp_path / "r"], tmp_path / "site").parent
    text = text_of(site / "index.html")
    assert "3 runs on 2 machines" in text
    first, second = (text.index(f"{n} (a cpu") for n in ("box", "other"))
    assert first < second  # the machine of the newest run is first
    (table,) = (p for p in (site / "data").glob("runs-box*.csv"))
    rows = csv_rows(table.read_text("utf-8"))
    assert [r["Run"] for r in rows] == ["a-new", "a-old"]
    assert rows[0]["Fastest"] == "fast"
    assert rows[0]["Most accurate"] == "fast"  # on the one input that both were judged on
    assert [r["Failed cells"] for r in rows] == ["1", "0"]
    assert [r["Timings decided"] for r in rows] == ["2", "2"]
    assert "All implementations at a glance" not in text  # the matrix of each run is on its pages


def test_the_newest_run_is_the_answer(tmp_path: Path) -> None:
    lead = runs.page(over_days(tmp_path, cells(2.0), cells(3.0, 0.5))).lead
    assert "fast is the fastest, 3.00 times as fast as max_shift" in lead[1]
    assert "fast is the most accurate, 0.500 ulp in float32" in lead[1]
    assert "2026-03-02" in lead[1]


def test_the_run_of_most_implementations_answers_before_a_newer_one(tmp_path: Path) -> None:
    alone = [error("max_shift", 3.0), timing("max_shift", 1.0, 0.0)]
    lead = runs.page(over_days(tmp_path, cells(3.0), alone)).lead
    assert "fast is the fastest, 3.00 times as fast as max_shift" in lead[1]


def test_declared_failures_are_told_apart(tmp_path: Path) -> None:
    (run,) = over_days(tmp_path, [
        error("fast", 9.0, status="failed", reason="above", deviation="order"),
        error("fast", 9.0, "bb", status="failed", reason="above"),
    ])  # fmt: skip
    assert runs.faults(run) == (1, 1)


# --- history ---


def _steps(*days: Cells, tmp_path: Path) -> list[history.Step]:
    (panel,) = history.panels(over_days(tmp_path, *days))
    return history.steps(panel)


@pytest.mark.parametrize(
    ("first", "second", "step"),
    [
        (timing("fast", 2.0), timing("fast", 3.0), True),
        (timing("fast", 3.0), timing("fast", 2.0), True),
        (timing("fast", 2.0), timing("fast", 2.05), False),  # their intervals overlap
        (timing("fast", 2.0), timing("fast", 3.0, noisy=True), False),
        (timing("fast", 2.0), timing("fast", 3.0, allocating=True), False),
        (timing("fast", 2.0), timing("fast", 3.0, speedup_low=None), False),
    ],
)
def test_a_step_is_where_intervals_lie_apart(
    first: dict[str, Any], second: dict[str, Any], step: bool, tmp_path: Path
) -> None:
    assert _steps([first], [second], tmp_path=tmp_path) == [history.Step(0, 1, "fast")] * step


@pytest.mark.parametrize(
    "change",
    [
        {"classes": 2000}, {"rows": 65}, {"dtype": "float64"}, {"threads": 1},
        {"regime": "cached"}, {"operation": "log_softmax"}, {"baseline": "naive"},
        {"workload": "normal(scale=2)"}, {"cache": "cold"}, {"ranked": False},
    ],
)  # fmt: skip
def test_only_what_is_the_same_stands_in_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    days = [timing("fast", 2.0)], [timing("fast", 3.0, **change)]
    assert history.panels(over_days(tmp_path, *days)) == []


def test_of_the_class_counts_the_one_nearest_to_1000_is_followed(tmp_path: Path) -> None:
    day = [timing("fast", 2.0, classes=n) for n in (10, 700, 5000)]
    (panel,) = history.panels(over_days(tmp_path, day, [*day, timing("fast", 2.0)]))
    assert panel.classes == 700  # 1000 was timed once


def test_the_history_names_commits_and_what_changed(tmp_path: Path) -> None:
    results = tmp_path / "r"
    store(results, "one", cells(2.0, 1.5), 1)
    store(results, "two", cells(3.0, 2.5), 2, versions={"numpy": "2.5.0", "python": "3.12.1"})
    store(results, "far", cells(9.0, 9.5), 3, machine={**BOX, "slug": "other"})
    site = build([results], tmp_path / "site").parent
    (steps,) = (site / "data").glob("steps-*.csv")
    (row,) = csv_rows(steps.read_text("utf-8"))
    assert row["Implementation"] == "fast"
    assert row["Commits"] == "01abcdef → 02abcdef"
    assert row["What else changed"] == "numpy 2.4.0 → 2.5.0"
    assert float(row["Change"]) == pytest.approx(0.5)
    (errors,) = (site / "data").glob("error-steps-*.csv")
    (row,) = csv_rows(errors.read_text("utf-8"))
    assert [row["Before ulp"], row["After ulp"]] == ["1.5", "2.5"]
    text = text_of(site / "history.html")
    assert "1 step (ratios followed: 1), the largest that of fast, +50.0%" in text
    assert "One run alone, and so no history: other" in text
    (points,) = (site / "data").glob("history-*.csv")
    runs = {r["Run"] for r in csv_rows(points.read_text("utf-8"))}
    assert runs == {"one", "two"}  # machines are never mixed


def test_errors_on_other_inputs_are_no_change(tmp_path: Path) -> None:
    found = over_days(tmp_path, [error("fast", 1.5)], [error("fast", 2.5, "bb")])
    assert history.error_table(found, "box").rows == []


# --- an implementation on all machines ---


def test_an_implementation_has_a_line_for_each_machine_and_run(tmp_path: Path) -> None:
    results = tmp_path / "r"
    store(results, "one", cells(2.0), 1)
    store(results, "two", cells(3.0), 2)
    store(results, "far", cells(9.0), 3, machine={**BOX, "slug": "other"})
    store(results, "arm", cells(9.0), 4, machine={**BOX, "architecture": "arm"})
    site = build([results], tmp_path / "site").parent
    check_ids(site)
    html = (site / "implementations/fast.html").read_text(encoding="utf-8")
    for name in ("one", "two", "far", "arm"):
        assert f'href="../{name}/implementations/fast.html"' in html
    text = text_of(site / "implementations/fast.html")
    assert "The fast softmax." in text
    assert "It ran in 4 of 4 runs, on box, other." in text
    for value in ("2.00", "3.00", "9.00"):
        assert value in text


# --- libraries ---


def _library(results: Path, name: str, records: Cells, day: int, version: str) -> RunData:
    torch = report_run.implementation("torch", requires=["torch"])
    return data(store(results, name, records, day, versions={"torch": version},
                      implementations=[torch, report_run.implementation("max_shift")]))  # fmt: skip


def test_each_version_of_a_library_is_told_by_its_newest_run(tmp_path: Path) -> None:
    old = _library(tmp_path, "a", [case("torch", "15-x", "failure", **FAILURE)], 1, "2.0")
    again = _library(tmp_path, "b", [case("torch", "15-x", "finding", outcome="nan")], 2, "2.0")
    cases = [case("torch", "15-x", "pass"), case("max_shift", "15-x", "failure", **FAILURE)]
    new = _library(tmp_path, "c", cases, 3, "2.1")
    found = libraries.libraries([old, again, new])
    told = [(one.versions, [run.info.id for run in one.runs]) for one in found]
    assert told == [("torch 2.1", ["c"]), ("torch 2.0", ["b"])]
    (row,) = libraries.matrix(found).rows
    assert [e.raw for e in row] == ["15-x", "pass", "finding: softmax in float32"]


def test_what_a_newer_run_did_not_ask_is_told_by_an_older_one(tmp_path: Path) -> None:
    old = [case("torch", "15-x", "failure", **FAILURE), case("torch", "16-y", "failure", **FAILURE)]
    runs = [_library(tmp_path, "a", old, 1, "2.0"),
            _library(tmp_path, "b", [case("torch", "15-x", "pass")], 2, "2.0")]  # fmt: skip
    (found,) = libraries.libraries(runs)
    assert [run.info.id for run in found.runs] == ["b", "a"]
    (row,) = libraries.matrix([found]).rows
    assert [e.raw for e in row] == ["16-y", "failure: softmax in float32"]
    (counts,) = libraries.summary([found]).rows
    assert [e.raw for e in counts] == ["torch", "torch 2.0", 2, 1, 0]
    assert libraries.page(runs).lead[0] == "Cases fail in torch (1)."


def test_a_library_is_named_by_what_was_installed(tmp_path: Path) -> None:
    paddle = report_run.implementation("paddle", requires=["paddle"])
    run = data(store(tmp_path, "a", [case("paddle", "15-x", "pass")], 1, implementations=[paddle],
                     versions={"paddlepaddle": "3.3.1"}))  # fmt: skip
    assert [one.title for one in libraries.libraries([run])] == ["paddle (paddlepaddle 3.3.1)"]


@pytest.mark.parametrize("name", [n for n, i in implementations().items() if i.metadata.requires])
def test_a_run_records_the_version_of_a_library_that_it_judges(name: str) -> None:
    packages = "|".join(implementations()[name].metadata.requires).split("|")
    assert {d for p in packages for d in libraries.brought_by(p)} & set(description.PACKAGES)


def test_a_deviation_can_be_reported_as_it_stands(tmp_path: Path) -> None:
    given = {**FAILURE, "case_input": ["0x1.0p+0"] * 20, "got": "0x1.5p+0"}
    run = _library(tmp_path, "a", [
        case("torch", "15-x", "failure", dtype="float64", **given),
        case("torch", "15-x", "failure", **FAILURE),
    ], 1, "2.13.0+cpu")  # fmt: skip
    (part,) = libraries.page([run]).parts[1:]
    (block,) = part.blocks
    assert block.links[0] == ("pytorch/pytorch#113708",
                              "https://github.com/pytorch/pytorch/issues/113708")  # fmt: skip
    for line in (
        "failure: title of 15-x",
        "operation: softmax, float32",  # whose input is the smaller one
        "input:     0x1.2p+5, 0x0.0p+0",
        "expected:  0x1.0p-54",
        "got:       0x0.0p+0",
        "error:     8.00×10¹⁵ ulp",
        "versions:  torch 2.13.0+cpu",
        "seen in:   softmax in float64 and float32",
        "see also:  https://github.com/pytorch/pytorch/issues/113708, "
        "https://github.com/scipy/scipy/issues/19521",
    ):
        assert line in block.text.splitlines()
    assert "0x1.5p+0" not in block.text


def test_no_text_of_a_result_leaves_its_fence(tmp_path: Path) -> None:
    hostile = "````\n# heading\n@everyone <script>"
    run = _library(tmp_path, "a", [case("torch", "15-x", "failure", message=hostile, title=hostile,
                                        got=hostile, reason=hostile)], 1, "1")  # fmt: skip
    text = libraries.page([run]).parts[1].blocks[0].text
    outside, fence = [], ""
    for line in text.splitlines():
        if not fence and re.fullmatch("`{3,}", line):
            fence = line
        elif not fence:
            outside.append(line)
        elif line == fence:
            fence = ""
    assert fence == ""
    assert outside == []


# --- comparisons ---


def test_a_run_is_compared_with_the_last_of_its_machine_that_measured_the_same(
    tmp_path: Path,
) -> None:
    results = tmp_path / "r"
    claims: Cells = [{"experiment": "claims", "implementation": "reference", "status": "ok",
                      "operation": "softmax", "workload": "A1"}]  # fmt: skip
    given = [
        data(store(results, "full", cells(), 1, profile="full")),
        data(store(results, "quick", cells(), 2)),
        data(store(results, "claims", claims, 3)),
        data(store(results, "other", cells(), 4, machine={**BOX, "cpu": "another"})),
        data(store(results, "full-2", cells(), 5, profile="full")),
        data(store(results, "smoke", cells(), 6, profile="smoke")),
    ]
    found = {new: base.info.id for new, base in predecessors(given).items()}
    assert found == {"quick/": "full", "full-2/": "full", "smoke/": "full-2"}


def test_a_reproduction_is_compared_with_one_of_the_same_paper(tmp_path: Path) -> None:
    papers = {"a": "one", "b": "two", "c": "one", "d": None}
    found = [
        data(store(tmp_path, name, cells(), day, filters={"paper": paper} if paper else {}))
        for day, (name, paper) in enumerate(papers.items(), 1)
    ]
    before = predecessors(found)
    assert {run.info.id: before[run.slug].info.id for run in found if run.slug in before} == {
        "c": "a"
    }


def test_who_is_faster_than_whom_is_told_of_the_run_with_most_of_them(tmp_path: Path) -> None:
    few = [timing("max_shift", 1.0, 0.0), timing("slow", 0.5)]
    many = [*few, timing("fast", 2.0)]
    found = over_days(tmp_path, many, many, few)
    assert [run.info.created[:10] for run in pairs.most_timed(found)] == ["2026-03-02"]


def test_history_needs_an_implementation_that_was_timed_twice(tmp_path: Path) -> None:
    once = [timing("max_shift", 1.0, 0.0), timing("slow", 0.5)]
    other = [timing("max_shift", 1.0, 0.0), timing("fast", 2.0)]
    assert history.panels(over_days(tmp_path / "a", once, other)) == []
    assert len(history.panels(over_days(tmp_path / "b", once, once))) == 1


def test_a_comparison_says_what_compare_says(tmp_path: Path) -> None:
    results = tmp_path / "r"
    one, two = store(results, "one", cells(), 1), store(results, "two", cells(ulp=9.0), 2)
    site = build([results], tmp_path / "site", judge()).parent
    page = site / "compare" / "two" / "index.html"
    text = text_of(page)
    assert text.index("worse: two against one") < text.index("What differs")
    found = compared(read_run(one), read_run(two), None)
    markdown = to_markdown(found).splitlines()
    assert [line for line in markdown if line and " ".join(line.split()) not in text] == []
    (row,) = csv_rows((page.parent / "data" / "changed.csv").read_text("utf-8"))
    assert (row["Verdict"], row["Implementation"], row["Base"], row["New"]) == (
        "worse", "fast", "1.5", "9.0",
    )  # fmt: skip
    assert "the run of 2026-03-02 10:00 against that of 2026-03-01 10:00: worse" in text_of(
        site / "compare.html"
    )


def test_many_changed_cells_are_all_in_the_file_and_few_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.report.across import compared as module

    monkeypatch.setattr(module, "MOST", 3)
    results = tmp_path / "r"
    for name, ulp, day in (("one", 1.5, 1), ("two", 9.0, 2)):
        store(results, name, [error("fast", ulp, f"{k:02}") for k in range(8)], day)
    site = build([results], tmp_path / "site", judge()).parent
    folder = site / "compare" / "two"
    assert len(csv_rows((folder / "data" / "changed.csv").read_text("utf-8"))) == 8
    html = (folder / "index.html").read_text(encoding="utf-8")
    table = html[html.index('id="changed"') :].partition("</table>")[0]
    assert table.count("<tr") == 4
    assert "5 more stand in the CSV" in html


def test_implementations_are_compared_both_ways(tmp_path: Path) -> None:
    folder = store(tmp_path, "one", [*cells(2.0), timing("slow", 0.5), timing("slow", 0.6,
                   allocating=True), timing("wrong", 9.0, ranked=False, status="failed",
                   reason="gate")])  # fmt: skip
    run = read_run(folder)
    (found,) = pairs.judged(judge(), run).values()
    assert found["fast", "slow"].value == pytest.approx(4.0)
    assert found["slow", "fast"].value == pytest.approx(0.25)
    assert found["fast", "slow"].verdict == "better"
    assert found["slow", "fast"].verdict == "worse"
    page = pairs.page(judge(), run, "pairs/one/")
    assert "fast has the least time" in page.lead[0]
    (table,) = page.parts[0].tables
    assert [row[0].text for row in table.rows] == ["fast", "max_shift"]
    assert [c.header for c in table.columns[1:]] == ["max_shift", "slow"]
    assert [[e.text for e in row[1:]] for row in table.rows] == [["2.00", "4.00"], ["", "2.00"]]


def test_what_noisy_timings_cannot_tell_is_undecided_with_its_reason(tmp_path: Path) -> None:
    noisy = timing("fast", 2.0, visits=None, noisy=True, undecided="known to ±40%: a neighbour")
    run = read_run(store(tmp_path, "one", [timing("max_shift", 1.0, 0.0), noisy]))
    (found,) = pairs.judged(judge(), run).values()
    assert found["fast", "max_shift"].value is found["max_shift", "fast"].value is None
    page = pairs.page(judge(), run, "pairs/one/")
    assert "not told apart from max_shift" in page.lead[0]
    (table,) = page.parts[0].tables
    (row,) = table.rows
    assert row[1].text == "undecided"
    assert "known to ±40%: a neighbour" in table.to_csv()
    assert table.marks == ["undecided: the timings can tell nothing, being noisy; the CSV says of "
                           "each why"]  # fmt: skip


def test_without_a_judge_there_are_no_comparisons(tmp_path: Path) -> None:
    for k in (1, 2):
        store(tmp_path / "r", f"run-{k}", cells(), k)
    site = build([tmp_path / "r"], tmp_path / "site").parent
    assert not (site / "compare.html").exists()
    assert "compare.html" not in (site / "index.html").read_text(encoding="utf-8")


# --- the whole ---


def test_one_run_has_no_pages_across_runs(tmp_path: Path) -> None:
    store(tmp_path / "r", "one", cells())
    site = build([tmp_path / "r"], tmp_path / "site", judge()).parent
    for name in ("history.html", "compare.html", "libraries.html", "implementations.html"):
        assert not (site / name).exists()
    assert (site / "accuracy.html").exists()


def test_hostile_names_stay_text_in_a_site_of_many_runs(tmp_path: Path) -> None:
    hostile = {"machine": {**BOX, "slug": HOSTILE}, "git_commit": HOSTILE, "profile": HOSTILE}
    records = [
        *cells(), timing(HOSTILE, 3.0), timing(HOSTILE, 3.0, operation=HOSTILE),
        error(HOSTILE, 5.0, dtype=HOSTILE), case(HOSTILE, HOSTILE, "failure", message=HOSTILE),
    ]  # fmt: skip
    about = [report_run.implementation(n, requires=["x"]) for n in ("max_shift", "fast", HOSTILE)]
    for k in (1, 2):
        store(tmp_path / "r", f"run-{k}", records, k, id=f"{HOSTILE}{k}", **hostile,
              implementations=about, versions={"x": HOSTILE})  # fmt: skip
    store(tmp_path / "r", "run-3", cells(), 3, id="compare")  # a folder of the site has that name
    site = build([tmp_path / "r"], tmp_path / "site", judge()).parent
    for page in pages(site):
        html = page.read_text(encoding="utf-8")
        scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        data = re.findall(r'<script type="application/json" id="[a-z-]+">', html)
        assert html.count("<script") == len(scripts) + len(data)
        assert all("alert(" not in script for script in scripts)
        assert "alert(&#34;x&#34;)" in html or HOSTILE not in text_of(page)
    check_links(site)
    check_ids(site)
    inside = [p.relative_to(site).as_posix() for p in site.rglob("*")]
    assert all(re.fullmatch(r"[A-Za-z0-9_./-]+", p) for p in inside)


def test_runs_of_every_kind_make_a_site(tmp_path: Path) -> None:
    """One without timings, one without anything, one of another schema, one with a bad line."""
    results = tmp_path / "r"
    store(results, "a", cells(), 1)
    store(results, "b", [error("fast", 1.5)], 2)
    store(results, "c", [], 3, finished=None)
    bad = store(results, "d", cells(), 4)
    with open(bad / "cells.jsonl", "a", encoding="utf-8") as file:
        file.write("{}\n")
    newer = store(results, "e", cells(), 5) / "run.json"
    text = newer.read_text(encoding="utf-8")
    newer.write_text(text.replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.warns(ResultsWarning) as told:
        site = build([results], tmp_path / "site", judge()).parent
    said = [str(w.message) for w in told]
    assert any("schema version 99" in s for s in said)
    assert any("cells.jsonl:5" in s for s in said)
    text = text_of(site / "index.html")
    assert "4 runs on 1 machine" in text
    assert "not finished" in text
    assert "nothing was timed" in text
    check_links(site)
    check_ids(site)


def test_a_helper_is_given_all_that_a_comparison_needs(tmp_path: Path) -> None:
    given = [store(tmp_path / "r", f"run-{k}", cells(float(k)), k) for k in (1, 2)]
    across = Across([data(f) for f in given], [Stored.at(f) for f in given], judge())
    elsewhere = pickle.loads(pickle.dumps(across))
    assert elsewhere.parts == across.parts
    for part in across.parts[:2]:
        here, there = (list(a.make(part, tmp_path / "site")) for a in (across, elsewhere))
        assert here == there
        assert here[0].files == part


def test_the_committed_runs_have_pages_across_them(tmp_path: Path) -> None:
    """All but the pages of each run, which have tests of their own."""
    found = sorted(find_runs([RESULTS]), key=lambda p: p.name)
    across = Across([data(p) for p in found], [Stored.at(p) for p in found], judge())
    made = {page.path: page for part in across.parts for page in across.make(part, tmp_path)}
    made |= {page.path: page for page in across.finish(tmp_path)}
    assert {path for path, _ in across.menu} <= set(made)
    parts = made["libraries.html"].parts
    (told,) = (part for part in parts if part.title == "torch (torch 2.13.0+cpu)")
    gradient = next(b for b in told.blocks if "60-gradient-of-logits" in b.title)
    assert "input:     0x1.0000000000000p+0, 0x1.dcc17e0000000p-26" in gradient.text
    assert "got:       0x0.0p+0" in gradient.text
    assert gradient.links == (("jax-ml/jax#40386", "https://github.com/jax-ml/jax/issues/40386"),)
    of_pairs = [p.lead[0] for path, p in made.items() if path.startswith("pairs/")]
    assert of_pairs
    assert all(" has the least time (softmax, float" in lead for lead in of_pairs)
    verdicts = {p.lead[0].split(": ")[1] for path, p in made.items() if path[:8] == "compare/"}
    *answers, _ = made["compare.html"].lead
    assert all(a.split(": ")[-1] in {*verdicts, "no two runs measured the same."} for a in answers)


def test_a_run_given_in_memory_is_the_run(tmp_path: Path) -> None:
    run = read_run(store(tmp_path, "one", cells()))
    assert Stored(run.info, given=run).run is run
