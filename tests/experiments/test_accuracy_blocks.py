"""Captured logits in blocks: the record of the whole, whatever the blocks, and no fault is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from contexts import MakeContext

from harness import workloads
from harness.experiments import accuracy
from harness.experiments.accuracy_blocks import in_blocks
from harness.experiments.context import Context
from harness.experiments.profiles import SMOKE
from harness.numerics.metrics import summarise
from harness.records import AccuracyRecord
from harness.reference import softmax_exact
from harness.worker.local import load
from harness.workloads import Workload, WorkloadUnavailable

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
    return list(in_blocks(context, workload, elements))  # type: ignore[arg-type]


def whole(context: Context, workload: Workload) -> list[AccuracyRecord]:
    parts = accuracy._parts(context, workload)
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


def assembled(module: Any, x: np.ndarray, elements: int) -> np.ndarray:
    """A row put together in longdouble, by other code than that of the experiment."""
    parts = [x[i : i + elements] for i in range(0, x.size, elements)]
    masked = [np.isneginf(p).all() for p in parts]
    logs = [
        -np.inf if m else np.longdouble(module.logsumexp(p[None])[0])
        for p, m in zip(parts, masked, strict=True)
    ]
    total = np.longdouble(0)
    for log in logs:
        total += np.exp(log - max(logs))
    found = []
    for p, m, log in zip(parts, masked, logs, strict=True):
        y = np.zeros(p.size) if m else module.softmax(p[None])[0]
        found.append(y.astype(np.longdouble) * (np.exp(log - max(logs)) / total))
    return np.concatenate(found).astype(np.float64).astype(x.dtype)


@pytest.mark.parametrize("name", WRONG)
def test_a_row_in_parts_has_the_errors_of_what_is_put_together(
    tmp_path: Path, make_context: MakeContext, name: str
) -> None:
    """Every measure of the row, against those of the same results at hand."""
    path = implementation(tmp_path, name, WRONG[name])
    context = make_context([path], PROFILE)
    x = logits(4, 40)
    workload = saved(tmp_path, x)
    module = load(path)
    exact = softmax_exact(x)
    for elements in (9, 10, 30):
        (record,) = judged(context, workload, elements)
        y = np.stack([assembled(module, row, elements) for row in x])
        expected = summarise(y, exact)
        assert record.ulp_histogram == expected.histogram
        assert (record.worst_row, record.worst_class) == (expected.worst.row, expected.worst.column)
        assert (record.worst_got, record.worst_expected) == (
            expected.worst.computed, expected.worst.expected,
        )  # fmt: skip
        for field in (
            "elements", "max_ulp", "bias_ulp", "correctly_rounded", "max_relative",
            "normwise_relative", "max_absolute", "flushed_count", "wrong_argmax", "nonfinite",
            *SUMMED, "sum_residual",
        ):  # fmt: skip
            found, due = getattr(record, field), getattr(expected, field)
            assert found == pytest.approx(due, rel=1e-9, abs=1e-15, nan_ok=True), field


WRONG_PARTS = {
    "softmax": {"softmax": "y * y.dtype.type(1.001)"},
    "one_part": {"softmax": "np.where(x.max() > 20, y * y.dtype.type(1.001), y)"},
    "logsumexp": {"logsumexp": "y + y.dtype.type(0.001)*(x.shape[-1] == 7)"},
    "half_of_the_logarithms": {"logsumexp": "np.where(y > 12, y * y.dtype.type(1.0001), y)"},
    "maximum_alone": {"logsumexp": "m[..., 0]"},
    "nan_logarithm": {"logsumexp": "np.where(y > 20, np.nan, y).astype(y.dtype)"},
    "infinite_logarithm": {"logsumexp": "np.where(y > 20, np.inf, y).astype(y.dtype)"},
    "zero": {"softmax": "np.where(y == y.max(), 0, y).astype(y.dtype)"},
}


@pytest.mark.parametrize("name", WRONG_PARTS)
def test_wrong_parts_fail(tmp_path: Path, make_context: MakeContext, name: str) -> None:
    context = make_context([implementation(tmp_path, name, **WRONG_PARTS[name])], PROFILE)
    x = logits(3, 40)
    x[2, 33] = 25.0  # in a part of its own, and the largest by far
    for elements in (7, 20):
        (record,) = judged(context, saved(tmp_path, x), elements)
        if name == "logsumexp" and elements == 20:  # then all parts have that width
            assert record.status == "ok"
            continue
        assert record.status == "failed", elements
        assert record.reason
        assert (record.error_over_bound or 0.0) > 1
        assert record.outcome == {
            "nan_logarithm": "nan", "infinite_logarithm": "nan", "zero": "zero",
        }.get(name, "inaccurate")  # fmt: skip


def test_a_zero_beside_the_largest_of_the_row_is_no_lost_row(
    tmp_path: Path, make_context: MakeContext
) -> None:
    """The largest of its part, and not of the row: wrong, as in one call."""
    more = "np.where((y == y.max()) & (x.max() < 5), 0, y).astype(y.dtype)"
    context = make_context([implementation(tmp_path, "lost", more)], PROFILE)
    x = np.zeros((1, 8), np.float32)
    x[0, 6] = 9.0
    (record,) = judged(context, saved(tmp_path, x), 4)
    assert (record.status, record.outcome) == ("failed", "wrong")


def test_without_logsumexp_rows_in_parts_are_unsupported(
    tmp_path: Path, make_context: MakeContext, plain_file: Write
) -> None:
    context = make_context([plain_file("alone", "return x"), "max_shift"], PROFILE)
    workload = saved(tmp_path, logits(2, 40))
    alone, other = judged(context, workload, 20)
    assert alone.status == "unsupported"
    assert alone.reason == (
        "offers no logsumexp, of which rows of more than 20 classes are put together"
    )
    assert other.status == "ok"


def test_a_fault_ends_one_implementation_and_says_where(
    tmp_path: Path, make_context: MakeContext
) -> None:
    fails = "y if not (x > 20).any() else 1 / 0"
    short = "y if not (x > 20).any() else y[..., 1:]"
    files = [
        implementation(tmp_path, "raises", fails),
        implementation(tmp_path, "short", short, short),
    ]
    context = make_context([*files, "max_shift"], PROFILE)
    x = logits(6, 10)
    x[x > 20] = 20.0
    x[4, 3] = 21.0
    workload = saved(tmp_path, x)
    raises, short_of, right = judged(context, workload, 20)
    assert raises.status == "error"
    assert str(raises.reason).startswith("rows 4 to 5: ")
    assert "ZeroDivisionError" in str(raises.reason)
    assert short_of.status == "failed"
    assert "expected shape (2, 10)" in str(short_of.reason)
    assert (right.status, right.elements) == ("ok", 60)
    raises, short_of, right = judged(context, workload, 5)
    assert str(raises.reason).startswith("row 4, classes from 0 on: ")
    assert "expected shape (1,)" in str(short_of.reason) or "(1, 5)" in str(short_of.reason)
    assert right.status == "ok"


def test_equal_blocks_are_called_each(tmp_path: Path, make_context: MakeContext) -> None:
    """Judged once where the result is the same, and a result that is not is found."""
    late = implementation(tmp_path, "late", "y * (1 + (len(calls) == 7))", more="calls = []")
    late.write_text(
        late.read_text(encoding="utf-8").replace("    e = ", "    calls.append(1)\n    e = ", 1),
        encoding="utf-8",
    )
    context = make_context([late, "max_shift"], PROFILE)
    workload = saved(tmp_path, np.zeros((20, 8), np.float32))
    record, right = judged(context, workload, 8)
    assert (record.status, record.outcome) == ("failed", "wrong")
    assert record.ulp_histogram is not None
    assert record.ulp_histogram["0"] == 19 * 8
    assert (right.status, right.max_ulp, right.elements) == ("ok", 0.0, 160)


@pytest.mark.parametrize("what", ["changed", "cut off"])
def test_a_file_that_changes_meanwhile_is_judged_by_nobody(
    tmp_path: Path, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    workload = saved(tmp_path, logits(300, 100))
    path, block = tmp_path / "x.npy", workloads.Stored.block

    def disturbed(self: workloads.Stored, rows: slice, classes: slice = slice(None)) -> Any:
        if rows.start == 200:
            content = path.read_bytes()
            path.write_bytes(
                content[:-130] if what == "cut off" else content[:-1] + bytes([content[-1] ^ 1])
            )
        return block(self, rows, classes)

    monkeypatch.setattr(workloads.Stored, "block", disturbed)
    message = "the file is cut off" if what == "cut off" else "the file has changed"
    with pytest.raises(WorkloadUnavailable, match=message):
        judged(make_context(["max_shift"], PROFILE), workload, 10_000)


def test_values_beyond_the_format_are_refused(tmp_path: Path, make_context: MakeContext) -> None:
    x = logits(6, 10)
    x[5, 5] = 1e5
    saved(tmp_path, x)
    workload = workloads.make("file", dtype="float16", params={"path": str(tmp_path / "x.npy")})
    with pytest.raises(WorkloadUnavailable, match="exceed the largest finite float16"):
        judged(make_context(["max_shift"], PROFILE), workload, 20)


def test_only_what_is_larger_than_a_block_is_judged_in_blocks(
    tmp_path: Path, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(["max_shift"], PROFILE)
    context.logits = [str(tmp_path / "x.npy")]
    saved(tmp_path, logits(6, 10))
    for elements, expected in ((60, None), (59, 5)):
        monkeypatch.setattr(accuracy, "BLOCK", elements)
        monkeypatch.setattr(accuracy, "in_blocks", partial(in_blocks, elements=elements))
        (unit,) = (u for u in accuracy.plan(context) if "file(" in u.label)
        assert unit.timed is (expected is not None)  # then nothing else asks meanwhile
        (record,) = unit.measure()
        assert record.rows_at_once == expected  # type: ignore[union-attr]
        assert record.status == "ok"


_RUN = """
import atexit, sys
from functools import partial
from harness.__main__ import main
from harness.experiments import accuracy
from harness.experiments.accuracy_blocks import in_blocks

accuracy.BLOCK = int(sys.argv.pop(1))
accuracy.in_blocks = partial(in_blocks, elements=accuracy.BLOCK)


@atexit.register
def tell():
    # Not ru_maxrss: that of a process that was started counts what its parent had
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    open("peak", "w").write(line.split()[1])


sys.exit(main())
"""


def peak(folder: Path, elements: int) -> int:
    """MiB of the process that judges x.npy in blocks of so many elements."""
    options = "run --profile smoke --experiment accuracy --dtype float32 --workload constant"
    options += " --classes 2 -i max_shift --logits x.npy --no-report --machine box"
    command = [sys.executable, "-c", _RUN, str(elements), *options.split()]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return int((folder / "peak").read_text()) >> 10


def test_judging_takes_the_memory_of_a_block(tmp_path: Path) -> None:
    """Of 16 MiB of logits; judged at once they take many times as much."""
    np.save(tmp_path / "x.npy", np.zeros((1 << 12, 1 << 10), np.float32))
    assert peak(tmp_path, 1 << 62) - peak(tmp_path, 1 << 18) > 300
