"""The pages of conformance and of claims: known records in, expected words out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import report_run
from report_pages import csv_rows, rows_of, text_of, zipped
from report_run import FAILURE, case

from harness.records import ConformanceRecord
from harness.report import build_site
from harness.report.drawing import sanitize
from harness.report.pages import claims, conformance, conformance_details
from harness.report.pages.findings import findings
from harness.report.run_data import RunData, from_run
from harness.report.site import pages_of

HOSTILE = report_run.HOSTILE
MARKUP = '<img src=x onerror="alert(1)">'
FORMULA = "=2+5+cmd|' /C calc'!A0"


def claim(identity: str, verdict: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "experiment": "claims", "implementation": "reference", "operation": "softmax",
        "workload": identity, "status": "ok", "reason": None, "claim": identity,
        "claim_kind": "numbers", "source_id": "000", "source_title": "A book", "verdict": verdict,
        "claimed": f"claimed {identity}", "certified": f"certified {identity}",
        "because": f"because {identity}", "derivation": f"derivation {identity}", "note": None,
        "numbers": None, "findings": None, "tables": None, **changes,
    }  # fmt: skip


def conformance_cells() -> list[dict[str, Any]]:
    return [
        case("torch", "1-masked", "finding", outcome="zero", message="zero, convention nan"),
        case("scipy", "1-masked", "pass", outcome="nan"),
        case("torch", "15-saturated", "pass", dtype="float64"),
        case("torch", "15-saturated", "failure", **FAILURE),
        case("scipy", "15-saturated", "pass"),
        case("naive", "11-overflow", "expected", outcome="nan", deviation="overflow",
             deviation_reason="there is no shift", message="out[0]=nan"),
        case("scipy", "11-overflow", "pass"),
        case("scipy", "12-under", None, status="crashed", reason="SIGSEGV", outcome="crashed"),
        case("torch", "12-under", None, status="timeout", reason="took 60 s"),
        case("scipy", "29-huge", "skipped", reason="needs gigabytes"),
        case("torch", "29-huge", "skipped", reason="needs gigabytes"),
        case("scipy", "43-uint8", "pass"),
        case("torch", "43-uint8", "pass"),
        case("max_shift", "1-masked", "unsupported", reason="offers no softmax"),
        case("cupy_gpu", "1-masked", None, status="unavailable", reason="no CUDA device"),
        case(HOSTILE, "15-saturated", "failure", message=MARKUP, title=MARKUP,
             reason=FORMULA, case_input=[FORMULA, MARKUP], got=MARKUP, expected=FORMULA,
             upstream=["javascript:alert(1)", "https://github.com.evil.example/a/b/issues/1",
                       MARKUP], others=[MARKUP]),
        case("naive", "deviation-underflow", "unexpected_pass", operation="all", dtype=None,
             reason="withdraw it"),
        case("naive", "deviation-overflow", "expected", operation="all", dtype=None,
             deviation="overflow"),
    ]  # fmt: skip


def claim_cells() -> list[dict[str, Any]]:
    return [
        claim("A1", "wrong", numbers=[
            {"label": "p1", "claimed": "0.1353", "certified": "0.24473", "rounded": "0.2447",
             "exact": False, "to_the_digits": False},
            {"label": "p2", "claimed": "0.5", "certified": "0.5", "rounded": "0.5",
             "exact": True, "to_the_digits": True}]),
        claim("B1", "holds", findings=[
            {"statement": "sums to 1", "cases": 0, "held": 0, "measured": "no machine",
             "role": "claim", "figures": {}},
            {"statement": "half of it", "cases": 4, "held": 2, "measured": "so so",
             "role": "remark", "figures": {"largest_t": 88.5}}]),
        claim("D5", "not yet measured", status="skipped", reason="needs a training run"),
        claim("E9", None, status="crashed", reason=MARKUP, claimed=MARKUP, source_title=FORMULA,
              tables=[{"caption": MARKUP, "columns": ["a"], "rows": [["1", MARKUP]]}]),
    ]  # fmt: skip


def data(records: list[dict[str, Any]], **changes: Any) -> RunData:
    return from_run(report_run.run(records, **changes), "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = report_run.run([*conformance_cells(), *claim_cells()])
    return build_site([run], tmp_path_factory.mktemp("report") / "site").parent


def html_of(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"status": "ok", "verdict": "pass"}, "pass"),
        ({"status": "ok", "verdict": "finding"}, "finding"),
        ({"status": "failed", "verdict": "failure"}, "failure"),
        ({"status": "failed", "verdict": "unexpected_pass"}, "unexpected_pass"),
        ({"status": "failed", "verdict": "pass"}, "failure"),
        ({"status": "crashed", "verdict": "expected"}, "crashed"),
        ({"status": "ok", "verdict": None}, "error"),
        ({"status": "ok", "verdict": "skipped"}, "error"),
        ({"status": "timeout", "verdict": None}, "error"),
        ({"status": "error", "verdict": "pass"}, "error"),
        ({"status": "skipped", "verdict": "pass"}, "skipped"),
        ({"status": "unavailable"}, "unavailable"),
    ],
)
def test_nothing_but_a_pass_is_a_pass(record: dict[str, Any], expected: str) -> None:
    made = ConformanceRecord(implementation="torch", **record)
    assert conformance.state_of(made) == expected


def test_the_most_serious_case_and_the_most_serious_format_come_first() -> None:
    (grid,) = conformance.grids(data(conformance_cells()))
    assert list(grid.cases[:2]) == ["12-under", "15-saturated"]
    entry = conformance.matrix_entry(grid, "15-saturated", "torch")
    assert entry.text == "✗ failure"
    assert entry.detail == "float64: pass, exact\nfloat32: failure, zero"
    assert conformance.matrix_entry(grid, "1-masked", "scipy").detail == "nan"


def test_a_case_without_a_record_is_no_pass() -> None:
    (grid,) = conformance.grids(data(conformance_cells()))
    entry = conformance.matrix_entry(grid, "43-uint8", "naive")
    assert entry.text == "· no record"
    assert entry.kind == "unjudged"


def test_counts_hold_crashes_and_timeouts_and_unexpected_passes_as_failures() -> None:
    run = data(conformance_cells())
    assert conformance.overview_entry(run, "torch").text == "2 failures"
    assert conformance.overview_entry(run, "scipy").text == "1 failure"
    naive = conformance.overview_entry(run, "naive")
    assert (naive.text, naive.detail) == ("1 failure", "0 findings\n1 expected")
    gap = conformance.overview_entry(run, "cupy_gpu")
    assert (gap.text, gap.note) == ("unavailable", "unavailable: no CUDA device")
    assert conformance.overview_entry(run, "online").kind == "missing"


def test_the_summary_counts_every_state(site: Path) -> None:
    rows = {r["Implementation"].lstrip("'"): r
            for r in rows_of(site, "conformance-summary")}  # fmt: skip
    torch = rows["torch"]
    assert torch["Tried"] == "5"
    assert torch["✗ failure"] == "1"
    assert torch["▽ no verdict"] == "1"
    assert torch["… skipped"] == "1"
    assert rows["online"]["Tried"] == "not measured"


def test_each_verdict_that_is_no_pass_links_to_what_stands_behind_it(site: Path) -> None:
    html = html_of(site, "conformance")
    targets = re.findall(r'<td class="t (?:failure|finding|expected)"><a href="#([^"]+)"', html)
    assert len(targets) >= 6
    for target in targets:
        assert f'<article class="case" id="{target}">' in html
    text = text_of(html)
    for words in ("out[1]=0, but should be 5.6e-17", "0x1.2p+5, 0x0.0p+0", "0x1.0p-54",
                  "8.00×10¹⁵ ulp", "4.50 ulp", "another one", "overflow: there is no shift",
                  "took 60 s", "SIGSEGV", "needs gigabytes", "no CUDA device"):  # fmt: skip
        assert words in text


def test_a_case_is_replayed_by_a_command_that_a_shell_takes_apart_safely() -> None:
    run = data(conformance_cells())
    record = ConformanceRecord(**case(HOSTILE, "1-masked", "failure"))
    words = shlex.split(conformance_details.replay(run, record))
    assert words[:4] == ["softmax-bench", "run", "--experiment", "conformance"]
    assert words[words.index("-i") + 1] == HOSTILE
    assert words[words.index("--dtype") + 1] == "float32"


@pytest.mark.parametrize(
    ("text", "label", "address"),
    [
        ("https://github.com/pytorch/pytorch/issues/113708", "pytorch/pytorch#113708",
         "https://github.com/pytorch/pytorch/issues/113708"),
        ("http://github.com/jax-ml/jax/pull/5", "jax-ml/jax#5",
         "https://github.com/jax-ml/jax/pull/5"),
        ("scipy/scipy#19521", "scipy/scipy#19521", "https://github.com/scipy/scipy/issues/19521"),
        ("javascript:alert(1)", "javascript:alert(1)", None),
        ("https://github.com@evil.example/a/b/issues/1",
         "https://github.com@evil.example/a/b/issues/1", None),
        ("https://github.com.evil.example/a/b/issues/1",
         "https://github.com.evil.example/a/b/issues/1", None),
        ("https://example.org/a/b/issues/1", "https://example.org/a/b/issues/1", None),
        ("https://github.com/a/b/issues/1\"onclick=x", "https://github.com/a/b/issues/1\"onclick=x",
         None),
        ("a/b#1\n", "a/b#1\n", None), ("../..#1", "../..#1", None), ("a/..#1", "a/..#1", None),
    ],
)  # fmt: skip
def test_only_public_issues_become_links(text: str, label: str, address: str | None) -> None:
    assert sanitize.upstream(text) == (label, address)


def test_links_out_of_the_pages_are_issues_only(site: Path) -> None:
    for page in ("conformance", "claims"):
        out = re.findall(r'href="((?:https?|javascript|data):[^"]*)"', html_of(site, page))
        assert set(out) <= {"https://github.com/pytorch/pytorch/issues/113708",
                            "https://github.com/scipy/scipy/issues/19521"}  # fmt: skip
    assert "https://github.com/scipy/scipy/issues/19521" in html_of(site, "conformance")


def test_hostile_text_is_shown_as_text(site: Path) -> None:
    for page in ("conformance", "claims"):
        html = html_of(site, page)
        assert "<img" not in html
        assert "<script" not in re.sub(r"<script>\"use strict\";.*?</script>", "", html, flags=re.S)
        assert "&lt;img src=x onerror=" in html
    texts = zipped(site / "data/tables.zip") | zipped(site / "data/records.zip")
    files = {n for n in texts if n.endswith(".csv")}
    assert {"csv/conformance-known.csv", "csv/claims-register.csv", "cells-claims.csv"} <= files
    for name in files:
        for row in csv_rows(texts[name]):
            assert not any(str(v).startswith(("=", "@", "|")) for v in row.values()), name


def test_ids_are_unique_and_links_within_the_page_exist(site: Path) -> None:
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        ids = re.findall(r'\sid="([^"]+)"', html)
        assert len(ids) == len(set(ids)), page
        for path, fragment in re.findall(r'href="([^"#:]*)#([^"]+)"', html):
            there = page if not path else page.parent / path
            assert f'id="{fragment}"' in there.read_text(encoding="utf-8"), (page, fragment)


def test_no_verdict_is_told_by_colour_alone(site: Path) -> None:
    found = 0
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        for text in re.findall(
            r'<(?:td|span|dt) class="(?:[nt] )?(?:pass|failure|finding|expected|unjudged)">(.*?)<',
            re.sub(r'<a href="[^"]*">', "", html),
        ):
            assert re.match(r"[☒✗▲▽◆○✓…–·] [a-z]{2,}", text), (page, text)
            found += 1
    assert found > 60
    words = [s.word for s in conformance.STATES.values()]
    assert len(set(words)) == len(words)


def test_known_failures_say_who_shows_them_and_which_nobody_shows(site: Path) -> None:
    rows = rows_of(site, "conformance-known")
    seen = next(r for r in rows if r["Implementation"] == "torch")
    assert (seen["Number"], seen["Verdict"], seen["Format"]) == ("15", "failure", "float32")
    assert (seen["Input"], seen["Got"]) == ("0x1.2p+5, 0x0.0p+0", "0x0.0p+0")
    assert "pytorch/pytorch#113708" in seen["Upstream"]
    not_seen = next(r for r in rows if r["Number"] == "43")
    assert (not_seen["Implementation"], not_seen["Verdict"]) == ("none of 2 judged", "not seen")


def test_a_known_failure_that_nobody_was_judged_on_is_not_called_fixed() -> None:
    cells = [case("torch", "26-stalled", "skipped", reason="needs gigabytes"),
             case("torch", "1-masked", "pass")]  # fmt: skip
    table = conformance_details.known(data(cells))
    assert table is not None
    (row,) = table.rows
    assert (row[5].text, row[5].note) == ("… not judged", "needs gigabytes")


@pytest.mark.parametrize(
    ("title", "expected"),
    [("zeros, up to 2**16 (24, 25 too)", {23, 24, 25}), ("(result dtype: 46 too)", {23, 46}),
     ("2 too many", {23}), (None, {23})],
)  # fmt: skip
def test_a_case_covers_the_numbers_that_its_title_adds(
    title: str | None, expected: set[int]
) -> None:
    record = ConformanceRecord(implementation="torch", status="ok", number=23, title=title)
    assert conformance_details.numbers_of(record) == expected


def test_declared_deviations_show_or_fail(site: Path) -> None:
    rows = {r["Deviation"]: r for r in rows_of(site, "conformance-deviations")}
    assert rows["overflow"]["Does it show?"] == "shows"
    assert rows["underflow"]["Does it show?"] == "unexpected pass"
    assert rows["underflow"]["Remark"] == "withdraw it"


def test_cases_that_nobody_was_judged_on_are_not_counted_as_passed() -> None:
    run = data(conformance_cells())
    (grid,) = conformance.grids(run)
    _, quiet = conformance.matrices(run, grid, "softmax")
    assert quiet is not None
    assert quiet.caption.startswith("1 case passed by all that were judged, and 1 on which none")


def test_an_implementation_page_has_its_own_cases(site: Path) -> None:
    html = html_of(site, "implementations/torch")
    assert "Cases that are no pass: 3, of which 2 failures" in text_of(html)
    assert "../conformance.html#case-softmax-15-saturated-torch" in html
    assert "5 cases tried, over all operations and formats" in text_of(html)
    assert "Not judged: unavailable (no CUDA device)." in text_of(
        html_of(site, "implementations/cupy_gpu")
    )


def test_the_overview_tells_of_both(site: Path) -> None:
    text = text_of(html_of(site, "index"))
    assert "Of 13 cases tried (case × operation × format), 5 fail: torch in 2," in text
    assert "torch in 2" in text
    assert "Of 4 published claims: 1 holds, 1 wrong, 1 not yet measured, 1 crashed." in text
    matrix = {r["Implementation"].lstrip("'"): r for r in rows_of(site, "matrix")}
    assert matrix["torch"]["Conformance"] == "2 failures, 1 finding, 0 expected"


def test_without_records_there_is_no_page_and_the_overview_says_so(tmp_path: Path) -> None:
    site = build_site([report_run.run([])], tmp_path / "site").parent
    assert not (site / "conformance.html").exists()
    assert not (site / "claims.html").exists()
    html = html_of(site, "index")
    assert "conformance.html" not in html
    assert "claims.html" not in html
    assert text_of(html).count("Not measured in this run.") == 2
    assert "Conformance" not in rows_of(site, "matrix")[0]


def test_each_run_has_the_pages_of_its_own_records() -> None:
    keys = {k for k, _ in pages_of(data(claim_cells()))}
    assert "claims" in keys
    assert "conformance" not in keys


def test_claims_are_no_implementation(site: Path) -> None:
    assert "reference" not in data(claim_cells()).implementations
    assert not (site / "implementations/reference.html").exists()


def test_claims_are_listed_with_their_verdict_and_reason(site: Path) -> None:
    rows = {r["Claim"]: r for r in rows_of(site, "claims-register")}
    assert rows["A1"]["Verdict"] == "wrong"
    assert rows["A1"]["Because"] == "because A1"
    assert rows["A1"]["As published"] == "claimed A1"
    assert rows["D5"]["Verdict"] == "not yet measured"
    assert rows["E9"]["Verdict"] == "crashed"
    counts = {r["Verdict"]: r["Claims"] for r in rows_of(site, "claims-verdicts")}
    assert counts == {"holds": "1", "holds to the digits printed": "0", "misleading": "0",
                      "wrong": "1", "not yet measured": "1", "crashed": "1"}  # fmt: skip


def test_the_evidence_of_a_claim_is_on_the_page(site: Path) -> None:
    text = text_of(html_of(site, "claims"))
    for words in ("0.24473", "✗ differs", "✓ exact", "derivation A1", "… not decided",
                  "in 2 of 4", "largest t 88.5000", "▽ no verdict: crashed"):  # fmt: skip
        assert words in text
    assert "✗ in 2 of 4" not in text  # a remark decides nothing


def test_every_verdict_of_the_schemas_is_known_to_the_pages() -> None:
    from typing import get_args

    from harness.records import ClaimVerdict
    from harness.records.conformance import Verdict

    assert set(get_args(Verdict)) <= set(conformance.STATES)
    assert set(get_args(ClaimVerdict)) == set(claims.VERDICTS)


def test_the_finding_names_those_without_a_failure() -> None:
    cells = [case("torch", "1-masked", "pass"), case("scipy", "1-masked", "failure")]
    found = {f.topic: f for part in findings(data(cells)) for f in part}
    assert found["Conformance"].text.startswith("Of 2 cases tried (case × operation × format), 1 ")
    assert "fail: scipy in 1. Without a failure: torch." in found["Conformance"].text
    assert found["Claims"].text == "Not measured in this run."


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    run = report_run.run([*conformance_cells(), *claim_cells()])
    sites = [build_site([run], tmp_path / n).parent for n in ("a", "b")]
    for path in sites[0].rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (sites[1] / path.relative_to(sites[0])).read_bytes(), path
