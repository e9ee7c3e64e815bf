"""The page of trainings: what is said of planted results, and that everything drawn has a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import report_run
from report_pages import check_links, csv_rows, text_of, zipped

from harness.records import TrainingRecord
from harness.records.training import Setting
from harness.report import build_site
from harness.report.pages import training
from harness.report.pages.learning import common, cost
from harness.report.run_data import RunData, from_run

PLAIN = Setting()
LONG = Setting(batch=0, epochs=100, rate=0.01)


def cell(
    kind: str, name: str = "max_shift", dtype: str = "float32", **changes: Any
) -> TrainingRecord:
    setting = changes.pop("setting", PLAIN)
    fields: dict[str, Any] = {
        "implementation": name, "operation": "cross_entropy", "dtype": dtype, "device": "cpu",
        "threads": 1, "classes": 10, "seed": 0, "status": "ok", "kind": kind, "setting": setting,
        "workload": setting.id if setting else "gaps", "route": "cross_entropy",
    }  # fmt: skip
    return TrainingRecord(**{**fields, **changes})


def digits(
    name: str, dtype: str, accuracy: tuple[float, ...], weights: str
) -> list[TrainingRecord]:
    return [
        cell("digits", name, dtype, seed=k, accuracy=a, loss=0.2, calibration_error=0.05,
             weights=f"{weights}{k}")
        for k, a in enumerate(accuracy)
    ]  # fmt: skip


def grown(
    name: str, predicted: tuple[float, float], before: tuple[float, float],
    at: tuple[float, float] | None = None, **changes: Any,
) -> TrainingRecord:  # fmt: skip
    """A training of growing logits; pairs of a logit and a gap. Where there is an `at`, it died."""
    for names, pair in (("predicted predicted_gap", predicted), ("logit_before gap_before", before),
                        ("logit_at gap_at", at)):  # fmt: skip
        changes |= zip(names.split(), pair or (None, None), strict=True)
    died = {"first_nonfinite": 7, "nonfinite": "loss"} if at else {}
    return cell("nonfinite", name, **died, **changes)


def collapsed(name: str, dtype: str, **changes: Any) -> TrainingRecord:
    fields: dict[str, Any] = {
        "setting": LONG, "zero_loss": 0.0, "zero_gradient": 0.0, "gap_alive": 24.0,
        "training_accuracy": 1.0, "accuracy": 0.97, "curves": {"epoch": [1, 100], "gap": [0, 9.0]},
    }  # fmt: skip
    return cell("collapse", name, dtype, **{**fields, **changes})


def clipped(clip: str, weights: str, accuracy: float, seed: int = 0) -> TrainingRecord:
    setting = Setting(optimiser="sgd", rate=0.1, clip=clip, limit=0.01, spike=100.0)
    return cell("clipping", setting=setting, seed=seed, accuracy=accuracy, accuracy_before=0.9,
                spike_ratio=20.0, weights=weights)  # fmt: skip


RECORDS = [
    *digits("max_shift", "float64", (0.90, 0.94), "a"),
    *digits("max_shift", "float32", (0.90, 0.94), "b"),
    *digits("torch", "float64", (0.90, 0.94), "a"),
    *digits("torch", "float16", (0.86, 0.92), "c"),
    cell("digits", "naive", "float16", status="failed", reason="loss not finite at step 3"),
    grown("naive", (88.7, 104.0), (40.0, 50.0), (200.0, 60.0)),
    grown("naive", (88.7, 104.0), (80.0, 90.0), setting=Setting(scale=3.0)),
    grown("torch", (3.4e38, 6.8e38), (2e5, 3e5), setting=Setting(scale=10.0)),
    grown("max_shift", (3.4e38, 6.8e38), (1.0, 2.0), (50.0, 60.0)),  # long before
    grown("numba_loop", (3.4e38, 104.0), (70.0, 100.0), (80.0, 110.0)),
    cell("vanishing", setting=None, predicted=103.97,
         curves={"gap": [0, 50, 103, 110], "saturated": [0, 1, 1, 1],
                 "squared_entries": [0, 0, 0.5, 1],
                 "squared_rows": [0, 0, 0.1, 1], "cross_entropy_entries": [0, 0, 0.8, 0.9],
                 "cross_entropy_rows": [0, 0, 0, 0]}),
    cell("depth", setting=Setting(hidden=(64,) * 3, activation="tanh"), predicted=0.577,
         layer_factor=0.56, curves={"layer": [1, 2, 3, 4], "norm": [0.1, 0.2, 0.3, 0.5],
                                    "weights": [1, 2, 3, 4]}),
    collapsed("max_shift", "float32"),
    collapsed("torch", "float32", zero_loss=0.2, gap_collapsed=15.6, gap_alive=16.6),
    collapsed("torch", "float16", zero_loss=0.4, gap_collapsed=7.6, gap_alive=7.62),
    collapsed("max_shift", "float32", setting=Setting(batch=0, smoothing=0.1),
              curves={"epoch": [1, 100], "gap": [0, 2.25]}),
    clipped("none", "x", 0.93), clipped("after", "x", 0.93), clipped("elements", "y", 0.3),
    clipped("none", "z", 0.93, 1), clipped("after", "other", 0.93, 1),
    *(cell("cost", name, classes=k, rows=32, head_ns=t * k, step_ns=2 * t * k)
      for name, t in (("max_shift", 30.0), ("torch", 10.0)) for k in (10, 1000, 100_000)),
]  # fmt: skip


@pytest.fixture(scope="module")
def run() -> RunData:
    return from_run(report_run.run(RECORDS), "")


@pytest.fixture(scope="module")
def told(run: RunData) -> dict[str, str]:
    return training.told(run)


def test_every_question_has_an_answer(told: dict[str, str]) -> None:
    assert list(told) == list(training.QUESTIONS)


def test_accuracies_are_held_against_the_baseline_seed_by_seed(told: dict[str, str]) -> None:
    text = told["digits"]
    assert text.startswith("max_shift in float64 classifies 92.0 ± 25% of the held-out digits")
    assert "none differs by more than 3.0 points (torch, float16)" in text
    assert "2 trainings gave the same weights" in text  # torch in float64
    assert "Broke off, with a loss that was not finite: naive in float16." in text


def test_outcomes_that_were_not_predicted_are_counted(told: dict[str, str]) -> None:
    text = told["nonfinite"]
    assert "3 of 5 trainings met a loss or gradient that was not finite" in text
    assert "predicted 4 of 5 outcomes" in text


@pytest.mark.parametrize(
    ("before", "at", "right"),
    [
        ((40.0, 50.0), (100.0, 60.0), True),
        ((40.0, 50.0), (60.0, 110.0), True),  # the gap alone had passed
        ((40.0, 50.0), (60.0, 70.0), False),  # died, and should not have
        ((40.0, 50.0), None, True),
        ((90.0, 50.0), None, False),  # lived, and should not have
        ((80.0, 120.0), None, False),
    ],
)
def test_logit_or_gap_predict_an_outcome(
    before: tuple[float, float], at: tuple[float, float] | None, right: bool
) -> None:
    assert grown("naive", (88.7, 104.0), before, at).as_predicted is right


def test_a_record_without_a_gap_is_not_judged() -> None:
    assert cell("nonfinite", predicted=88.7, logit_before=1.0).as_predicted is None


def test_a_gap_is_told_beside_the_predicted_one(told: dict[str, str]) -> None:
    assert "float32 110 (predicted 104)" in told["vanishing"]
    assert "is never 0 in such a row" in told["vanishing"]
    assert "tanh 0.56 (predicted 0.58)" in told["depth"]


def test_collapse_is_told_by_the_unit_roundoff_of_the_format(told: dict[str, str]) -> None:
    text = told["collapse"]
    assert "2 of 3 trainings ended with rows whose loss is exactly 0, 2 of them" in text
    assert "With larger gaps and no loss of 0: max_shift." in text
    assert "half of the rows end below a gap of 2.25 (predicted 2.31)" in text


def test_clipping_that_changed_no_bit_is_counted(told: dict[str, str]) -> None:
    text = told["clipping"]
    assert "not clipped 2 of 2; elements after the step, 0.01 2 of 2" in text
    assert "elements before the step, 0.01 0 of 1" in text
    assert "in 1 of 2 pairs" in text  # the other was planted to differ


def test_the_cost_is_a_power_of_the_classes(told: dict[str, str]) -> None:
    text = told["cost"]
    assert "to the power of 1.0 to 1.0 (predicted 1" in text
    assert "the least is 1.00 ms (torch), 50% of a whole step" in text
    assert cost.slope([(10.0, 7.0), (1000.0, 70.0)]) == pytest.approx(0.5)
    assert cost.slope([(10.0, 7.0)]) is None


def test_a_mean_has_the_interval_of_student() -> None:
    found = common.mean_of([0.9, 0.92, 0.94])
    assert found.value == pytest.approx(0.92)
    assert found.half == pytest.approx(4.3027 * 0.02 / 3**0.5, rel=1e-3)
    assert common.mean_of([0.9]).half is None


@pytest.mark.parametrize(
    ("changes", "through"),
    [
        ({"accuracy": 0.85, "accuracy_before": 0.9}, True),
        ({"accuracy": 0.84, "accuracy_before": 0.9}, False),
        ({"accuracy": 0.84}, False),
        ({"accuracy": 0.86}, True),
        ({"accuracy": None}, False),
        ({"accuracy": 0.9, "status": "failed", "reason": "x"}, False),
    ],
)
def test_who_came_through(changes: dict[str, Any], through: bool) -> None:
    assert cell("clipping", **changes).came_through is through


def test_a_page_has_a_figure_and_a_table_for_each_question(tmp_path: Path) -> None:
    hostile = cell("digits", report_run.HOSTILE, accuracy=0.5, loss=1.0, weights="q")
    synthetic = report_run.run([*RECORDS, hostile])
    build_site([synthetic], tmp_path / "site")
    site = tmp_path / "site"
    check_links(site)
    page = (site / "training.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(training.QUESTIONS)
    assert "<script>alert" not in page
    text = text_of(page)
    for kind, sentence in training.told(from_run(synthetic, "")).items():
        assert training.QUESTIONS[kind] in text
        assert " ".join(sentence.split()) in text
    tables = zipped(site / "data" / "tables.zip")
    assert {f"csv/training-{kind}.csv" for kind in training.QUESTIONS} <= tables.keys()
    rows = csv_rows(tables["csv/training-collapse.csv"])
    assert {r["Implementation"] for r in rows} == {"max_shift", "torch"}
    assert "What is learned" in text_of(site / "index.html")


def test_questions_without_a_single_number_leave_a_page_too(tmp_path: Path) -> None:
    lost = [
        cell(kind, status=status, reason="no")
        for kind in training.QUESTIONS
        for status in ("failed", "unavailable")
    ]
    build_site([report_run.run(lost)], tmp_path / "site")
    text = text_of(tmp_path / "site" / "training.html")
    assert "max_shift 7 unavailable no" in text
    assert "No training came to its end." in text
