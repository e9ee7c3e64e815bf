"""The page of attention: kernels by their parameters, and a linear layer, of planted results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import report_run
from report_pages import text_of

from harness.records import AttentionRecord
from harness.report import build_site
from harness.report.pages import attention_kernels
from harness.report.run_data import RunData, from_run

BASE: dict[str, Any] = {"device": "cpu", "rows": 32, "seed": 0, "status": "ok", "max_ulp": 8.0,
                        "error_over_bound": 0.5}  # fmt: skip


def weights(name: str, setting: str, missed: float, lost: float, **more: Any) -> AttentionRecord:
    fields = {
        "implementation": name, "operation": "attention_weights", "dtype": "float32",
        "kind": "weights", "setting": setting, "workload": "normal(scale=2)", "classes": 1024,
        "total_variation": lost, "misrounded_float32": 1.0, "misrounded_float16": missed,
        "misrounded_bfloat16": missed / 8, "misrounded_float8_e4m3fn": 0.0,
        "misrounded_float8_e5m2": 0.0,
    }  # fmt: skip
    return AttentionRecord(**{**BASE, **fields, **more})


def layer(name: str, result: str, off: float, **more: Any) -> AttentionRecord:
    fields = {
        "implementation": name, "operation": "linear_cross_entropy", "dtype": "float16",
        "kind": "layer", "result": result, "workload": "layer(scale=1,offset=1000)",
        "classes": 64, "norm_u": off,
    }  # fmt: skip
    return AttentionRecord(**{**BASE, **fields, **more})


POLYNOMIAL = [weights("exp2_poly", f"degree={d}", m, 0.0) for d, m in ((1, 0.9), (3, 0.04), (5, 0))]
NARROW = [
    weights("fp8_e4m3", f"power={power}, tau={tau}", 0.9, lost)
    for (power, tau), lost in {
        (4, 0): 0.011, (8, 0): 0.010, (9, 0): 0.03, (4, 8): 0.012, (8, 8): 0.3, (9, 8): 0.4,
    }.items()
]  # fmt: skip
LAYERS = [
    layer("max_shift", "loss", 0.25), layer("max_shift", "weight", 0.63),
    layer("torch", "loss", 3.0), layer("torch", "weight", 4900.0),
    layer("scipy", "hidden", 9e9, status="failed", reason="error 9 ulp, 2 times what is allowed",
          error_over_bound=2.0),
]  # fmt: skip


def data(records: list[AttentionRecord]) -> RunData:
    return from_run(report_run.run(records), "")


def test_from_which_degree_on_nothing_is_lost_by_format() -> None:
    text = attention_kernels.weights_told(data(POLYNOMIAL))
    assert text == (
        "exp2_poly: less than 0.1% misrounded to FP8 E4M3 at every setting; "
        "float16, bfloat16 from degree = 5 on."
    )
    never = [weights("exp2_poly", f"degree={d}", 0.9, 0.0) for d in (1, 2)]
    assert "float16, bfloat16 at none" in attention_kernels.weights_told(data(never))


def test_the_worse_of_two_inputs_counts() -> None:
    worse = weights("exp2_poly", "degree=5", 0.5, 0.0, workload="ascending(span=20)")
    text = attention_kernels.weights_told(data([*POLYNOMIAL, worse]))
    assert "float16, bfloat16 at none" in text


def test_where_weights_saturate_by_the_second_parameter() -> None:
    text = attention_kernels.weights_told(data(NARROW))
    assert text == (
        "fp8_e4m3: total variation 0.010 at best, doubled from power 9 (tau 0), 8 (tau 8) on, "
        "where weights saturate."
    )


def test_a_kernel_that_gives_no_numbers_is_not_told_of() -> None:
    lost = weights("fp8_e4m3", "power=4, tau=0", 0.9, 0.0, status="crashed", reason="signal 11")
    assert attention_kernels.weights_told(data([lost])) == ""
    assert attention_kernels.weights(data([lost])) is None


def test_a_layer_is_told_by_its_worst_and_by_who_keeps_the_digits() -> None:
    run = data(LAYERS)
    text = attention_kernels.layers_told(run)
    assert text.startswith("Of 5 results of a linear layer's cross-entropy 1 went wrong: scipy")
    assert "float16 are 0.63 u of the largest entry (max_shift) to" in text
    table = attention_kernels.layers(run)
    assert table is not None
    assert [e.text for e in table.rows[0][:3]] == [
        "max_shift", "layer(scale=1,offset=1000)", "0.630",
    ]  # fmt: skip
    assert [e.kind for e in table.rows[-1]].count("bad") == 1
    assert attention_kernels.layers(data(POLYNOMIAL)) is None


def test_the_page_shows_both(tmp_path: Path) -> None:
    build_site([report_run.run([*POLYNOMIAL, *NARROW, *LAYERS])], tmp_path / "site")
    text = text_of(next((tmp_path / "site").rglob("attention.html")))
    assert "Weights as kernels compute them" in text
    assert "degree=5" in text
    assert "Cross-entropy of a linear layer of 8 rows" in text
