"""The page of attention: what is said of planted results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import report_run
from report_pages import check_links, text_of

from harness.records import AttentionRecord
from harness.report import build_site
from harness.report.pages import attention
from harness.report.run_data import RunData, from_run


def cell(name: str, operation: str = "scaled_softmax", **changes: Any) -> AttentionRecord:
    fields: dict[str, Any] = {
        "implementation": name, "operation": operation, "dtype": "float32", "device": "cpu",
        "workload": "normal(scale=1)", "classes": 16, "rows": 32, "seed": 0, "status": "ok",
        "kind": "accuracy", "parameter": "scale", "value": 0.1, "max_ulp": 3.0,
        "error_over_bound": 0.25,
    }  # fmt: skip
    return AttentionRecord(**{**fields, **changes})


def onset(name: str, over: str, first: float | None, **changes: Any) -> AttentionRecord:
    return cell(
        name, kind="onset", workload="growing", over=over, occurs=first is not None,
        first_bad=first, last_good=None if first is None else first / 2.0, points=64,
        value=0.1 if over == "logits" else None, **changes,
    )  # fmt: skip


def pair(one: str, other: str, **changes: Any) -> AttentionRecord:
    return cell(one, "softmax", kind="disagreement", other=other, parameter=None, value=None,
                **changes)  # fmt: skip


RECORDS = [
    pair("max_shift", "scipy", same_bits=True, likely_ratio=1.0, max_ratio=1.0, kl=0.0),
    pair("max_shift", "torch", same_bits=False, likely_ratio=1.25, max_ratio=9.0, kl=2e-3,
         argmax_differs=1),
    cell("online", "merge_logsumexp", kind="merge", parts=13, order_ulp=2.0, maxima_wrong=0),
    cell("max_shift"),
    cell("max_shift", "masked_softmax", parameter="mask", value=0.25, empty_rows="zeros",
         leaked=0),
    cell("torch", "masked_softmax", parameter="mask", value=0.25, empty_rows="NaN", leaked=0),
    cell("torch", status="failed", reason="wrong: error 9 ulp, 2 times what is allowed",
         max_ulp=9.0, error_over_bound=2.0),
    cell("scipy", status="failed", reason="0 in place of a subnormal", deviation="flushes",
         max_ulp=8e6, error_over_bound=1.5),
    cell("naive", status="unsupported", reason="offers no scaled_softmax", max_ulp=None,
         error_over_bound=None),
    onset("max_shift", "logits", None),
    onset("max_shift", "scale", 5e37),
    onset("torch", "logits", 3e10, together=None),
    onset("torch", "scale", 5e37),
]  # fmt: skip


@pytest.fixture(scope="module")
def run() -> RunData:
    return from_run(report_run.run(RECORDS), "")


def test_what_went_wrong_and_what_was_declared_are_told_apart(run: RunData) -> None:
    text = attention.errors_told(run)
    assert text.startswith(
        "1 cell of 5 went wrong: torch (scaled, float32), but for 1 that declared deviations "
        "explain (scipy)."
    )
    assert "Rows without any class are zeros in max_shift." in text
    assert "Rows without any class are NaN in torch." in text


def test_only_what_was_asked_is_told(run: RunData) -> None:
    assert attention.told(run) == [attention.errors_told(run), attention.onset_told(run)]
    pairs = from_run(report_run.run([r for r in RECORDS if r.kind == "disagreement"]), "")
    assert attention.told(pairs) == []
    right = from_run(report_run.run([cell("max_shift")]), "")
    assert attention.told(right) == ["None of 1 cell went wrong."]


def test_nan_within_the_format_is_told_with_the_product(run: RunData) -> None:
    text = attention.onset_told(run)
    assert text.startswith(
        "Not finite although the product is within the format: torch in float32 from a product of "
    )
    assert "3.00" in text or "3×10⁹" in text
    assert "max_shift" not in text  # whose product had left the format
    assert "Of torch the same rows are finite in one call with many others." in text


def test_pairs_are_told_by_their_largest_ratio(run: RunData) -> None:
    table = attention.pairs(run, "float32")
    assert table is not None
    assert "at most 0.25 above 1 (max_shift and torch); 1 of 2 pairs are the same" in table.notes[0]
    shown = {e.text: e for e in table.rows[0]}
    assert shown["0.25"].kind == "bad"  # another class is the most likely one
    assert shown["0"].detail == "same bits"
    assert attention.pairs(run, "float64") is None


def test_where_nobody_fails_within_the_format_that_is_told() -> None:
    calm = from_run(report_run.run([r for r in RECORDS if r.implementation == "max_shift"]), "")
    assert attention.onset_told(calm).startswith("Nobody gives what is not finite while")


def test_the_page_has_a_table_behind_each_figure_and_a_reason_for_each_gap(tmp_path: Path) -> None:
    build_site([report_run.run(RECORDS)], tmp_path / "site")
    text = text_of(next((tmp_path / "site").rglob("attention.html")))
    assert "offers no scaled_softmax" in text
    assert "2 times what is allowed" in text
    check_links(tmp_path / "site")
