"""Captured logits in blocks: the record of the whole, whatever the blocks, and no fault is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from contexts import MakeContext

from harness import workloads
from harness.experiments import accuracy
from harness.experiments.accuracy_blocks import in_blocks
from harness.experiments.conformance.explanation import Explainer
from harness.experiments.context import Context
from harness.experiments.profiles import SMOKE
from harness.records import AccuracyRecord
from harness.workloads import Workload

Write = Callable[[str, str], Path]
PROFILE = replace(SMOKE, dtypes=("float32",), sweep_workloads=(), families=())
SUMMED = ("kl_divergence", "total_variation", "flushed_mass")
QUANTILES = ("p50_ulp", "p99_ulp", "p999_ulp")
OF_BLOCKS = {"elapsed_s", "rows_at_once", "classes_at_once", "witness", "diagnosis", *QUANTILES}

CORRECT = """
import numpy as np
{more}
def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    y = e / e.sum(axis, keepdims=True, dtype=x.dtype)
    return {softmax}
def logsumexp(x, axis=-1):
    m = x.max(axis, keepdims=True)
    y = (np.log(np.exp(x - m).sum(axis, keepdims=True, dtype=x.dtype)) + m)[..., 0]
    return {logsumexp}
"""


def implementation(
    folder: Path, name: str, softmax: str = "y", logsumexp: str = "y", more: str = ""
) -> Path:
    """A correct file but for what is said of its results `y`."""
    path = folder / f"{name}.py"
    path.write_text(
        CORRECT.format(softmax=softmax, logsumexp=logsumexp, more=more), encoding="utf-8"
    )
    return path


def logits(rows: int, classes: int, dtype: Any = np.float32, scale: float = 8.0) -> np.ndarray:
    rng = np.random.default_rng(rows * classes)
    x = (rng.normal(size=(rows, classes)) * scale).astype(dtype)
    x[rng.random(x.shape) < 0.1] = -np.inf
    x[:, 0] = 1.0
    return x


def saved(folder: Path, x: np.ndarray) -> Workload:
    path = folder / "x.npy"
    if x.dtype == ml_dtypes.bfloat16:
        np.save(path, x.view(np.uint16))
        return workloads.make("file", dtype=x.dtype, params={"path": f"{path}::bfloat16"})
    np.save(path, x)
    return workloads.make("file", dtype=x.dtype, params={"path": str(path)})


def judged(context: Context, workload: Workload, elements: int) -> list[AccuracyRecord]:
    explainers = {i.name: Explainer() for i in context.implementations}
    return list(in_blocks(context, workload, explainers, elements))  # type: ignore[arg-type]


def whole(context: Context, workload: Workload) -> list[AccuracyRecord]:
    explainers = {i.name: Explainer() for i in context.implementations}
    parts = accuracy._parts(context, workload, explainers)
    return [r for part in parts for r in part.measure()]  # type: ignore[misc]


def fields(record: AccuracyRecord, without: set[str]) -> dict[str, Any]:
    return record.model_dump(exclude=without, exclude_none=True)


WRONG = {
    "right": "y",
    "some_nan": "np.where(x > 20, np.nan, y).astype(y.dtype)",
    "zeros": "np.zeros_like(y)",
    "rough": "y * y.dtype.type(1.5)",
    "late_rows": "np.where(x[:, 1:2] > 5, y * y.dtype.type(1.5), y)",
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_blocks_of_rows_give_the_record_of_one_call(
    tmp_path: Path, make_context: MakeContext, dtype: Any
) -> None:
    """In every field but the quantiles, which are told to 2**-12; of what is wrong, too."""
    files = [implementation(tmp_path, name, how) for name, how in WRONG.items()]
    context = make_context([*files, "max_shift", "naive"], PROFILE)
    workload = saved(tmp_path, logits(37, 11, dtype))
    alone = {r.implementation: r for r in whole(context, workload)}
    assert {alone[n].status for n in ("some_nan", "zeros", "rough", "late_rows")} == {"failed"}
    for elements in (11, 50, 36 * 11):
        found = judged(context, workload, elements)
        assert [r.implementation for r in found] == [i.name for i in context.implementations]
        for record in found:
            expected = alone[record.implementation]
            assert fields(record, OF_BLOCKS) == fields(expected, OF_BLOCKS)
            assert record.rows_at_once == elements // 11
            for name in QUANTILES:
                exact, told = getattr(expected, name), getattr(record, name)
                assert exact <= told <= exact * (1 + 2.0**-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_rows_in_parts_of_their_classes_are_judged(
    tmp_path: Path, make_context: MakeContext, dtype: Any
) -> None:
    """What has its two operations right is within the bound, however the row is divided."""
    context = make_context([implementation(tmp_path, "mine"), "numba_cpu"], PROFILE)
    x = logits(3, 40, dtype)
    x[1, 10:30] = -np.inf  # whole parts are masked
    workload = saved(tmp_path, x)
    alone = whole(context, workload)
    for elements in (1, 7, 10, 39):
        for record, expected in zip(judged(context, workload, elements), alone, strict=True):
            assert (record.status, record.reason) == ("ok", None)
            assert (record.rows_at_once, record.classes_at_once) == (1, elements)
            assert record.elements == x.size
            assert record.input_sha256 == expected.input_sha256
            assert record.wrong_order is None
            assert record.wrong_argmax == 0
            assert 0 < (record.error_over_bound or 0.0) <= 1.0
            assert sum((record.ulp_histogram or {}).values()) == x.size
