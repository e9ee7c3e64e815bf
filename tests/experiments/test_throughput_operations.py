"""Timings of the operations beside softmax: their arguments, their limits, and the gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import MakeContext

from harness.experiments.profiles import QUICK, SMOKE, TIMED, Filters, Timing, narrow
from harness.experiments.throughput import host as throughput
from harness.experiments.throughput import integrity
from harness.experiments.throughput.integrity import Scrutiny
from harness.experiments.throughput.timed_operations import exact_results, operation_of
from harness.records import ThroughputRecord
from harness.records.reader import cell_key
from harness.reference import softmax_exact
from harness.report.run_data import RunData
from harness.report.timing_selection import groups, limits

GRID = Timing(
    (64,), 1 << 12, ("one",), min_sample_ns=20_000, warm_up_ns=0, operations=TIMED, seconds=0.1
)
PROFILE = replace(SMOKE, timing={"cached": GRID})

SOURCE = '''"""Cross-entropy in NumPy."""

import numpy as np

LAST = []


def cross_entropy(logits, targets):
    top = logits.max(axis=-1, keepdims=True)
    e = np.exp(logits - top)
    total = e.sum(axis=-1, keepdims=True)
    gradient = e / total
    at = np.expand_dims(targets, -1)
    chosen = np.take_along_axis(logits, at, -1)
    np.put_along_axis(gradient, at, np.take_along_axis(gradient, at, -1) - 1, -1)
    loss = (np.log(total) + top - chosen)[..., 0]
    {change}
    return loss, gradient
'''


def measured(context: Any) -> list[ThroughputRecord]:
    return [r for unit in throughput.plan(context) for r in unit.measure()]  # type: ignore[misc]


def of(operation: str) -> Any:
    grid = replace(GRID, operations=(operation,))
    return replace(PROFILE, timing={"cached": grid})


@pytest.mark.parametrize("operation", TIMED)
def test_each_operation_is_timed_beside_copies_of_its_own_rounds(
    make_context: MakeContext, operation: str
) -> None:
    found = {r.implementation: r for r in measured(make_context(["max_shift"], of(operation)))}
    mine = found["max_shift"]
    assert mine.status == "ok", mine.reason
    assert mine.operation == operation
    assert mine.ranked
    assert mine.samples_ns
    assert mine.percent_of_limit is not None
    assert found["max_shift (control)"].operation == operation
    beside = None if operation == "softmax" else operation
    assert {r.beside for r in found.values() if r.role == "limit"} == {beside}


def test_cells_of_several_operations_are_cells_of_their_own(make_context: MakeContext) -> None:
    context = make_context(["max_shift"], PROFILE)
    units = list(throughput.plan(context))
    keys = [key for unit in units for key in unit.keys]
    assert len(keys) == len(set(keys))
    (first, *_) = units
    assert sorted(cell_key(r) for r in first.measure()) == sorted(first.keys)


def test_bandwidth_counts_what_the_operation_has_to_move(make_context: MakeContext) -> None:
    (record,) = [
        r
        for r in measured(make_context(["max_shift"], of("softmax_backward")))
        if r.implementation == "max_shift"
    ]
    assert record.array_bytes == 64 * 64 * 4
    assert record.moved_bytes == 3 * record.array_bytes
    assert record.gbps == pytest.approx(record.moved_bytes / (record.best_ns or 0))


CHANGES = {
    "right": "pass",
    "no_loss": "loss = np.zeros_like(loss)",
    "no_gradient": "gradient = np.zeros_like(gradient)",
    "first_result": "LAST.append((loss, gradient)); loss, gradient = LAST[0]",
    "wider_loss": "loss = loss.astype(np.float64)",
    "gradient_alone": "return gradient",
}


def test_every_part_of_a_result_is_judged(make_context: MakeContext, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.py" for name in CHANGES]
    for path, change in zip(paths, CHANGES.values(), strict=True):
        path.write_text(SOURCE.format(change=change), encoding="utf-8")
    records = measured(make_context(["max_shift", *paths], of("cross_entropy")))
    found = {r.implementation: r for r in records}
    for name in CHANGES:
        right = name == "right"
        assert found[name].status == ("ok" if right else "failed"), (name, found[name].reason)
        assert found[name].ranked is right, name
    assert found["max_shift"].status == "ok"


def test_exact_results_are_kept_for_the_same_rows_alone() -> None:
    operation = operation_of("softmax")
    rows = [np.float32([[0.0, k]]) for k in range(3)]
    first = [exact_results(operation, (x,)) for x in rows]
    assert exact_results(operation, (rows[2].copy(),)) is first[2]
    for x, (exact,) in zip(rows, first, strict=True):
        assert np.array_equal(exact.round_to("float32"), softmax_exact(x).round_to("float32"))


def test_everyone_is_judged_on_the_same_rows_and_huge_rows_are_drawn() -> None:
    scrutiny = Scrutiny(1000, 4096, "float32", lambda *_: {})
    x, y = np.zeros((4096, 1000), np.float32), np.zeros((4096, 1000), np.float32)
    rows = scrutiny.rows_of(x)
    assert {0, 4095} <= set(rows.tolist())
    assert scrutiny.rows_of(x) is rows
    assert scrutiny.rows_of(y) is not rows
    assert integrity._some(8, 1000).tolist() == list(range(8))
    drawn = {tuple(integrity._some(8, 1_000_000)) for _ in range(200)}
    assert {len(d) for d in drawn} == {1}
    assert len(drawn) > 1


def test_an_operation_that_is_not_offered_is_a_row(make_context: MakeContext) -> None:
    found = {r.implementation: r for r in measured(make_context(["scipy", "max_shift"],
                                                                of("cross_entropy")))}  # fmt: skip
    assert found["scipy"].status == "unsupported"
    assert found["max_shift"].status == "ok"


def test_softmax_alone_is_timed_unless_others_are_asked_for() -> None:
    assert {g.operations for g in QUICK.timing.values()} == {("softmax",)}
    asked = narrow(QUICK, Filters(operations=("cross_entropy", "logsumexp")))
    assert {g.operations for g in asked.timing.values()} == {("cross_entropy",)}


def test_the_limits_of_a_plot_are_those_of_its_own_operation(make_context: MakeContext) -> None:
    import report_run

    records = measured(make_context(["max_shift"], PROFILE))
    run = RunData(report_run.info(), records, "")
    for group in groups(run):
        shown = limits(run, group, "cached")
        assert set(shown) == {"copy_regular", "copy_nontemporal"}
        assert all(len(cells) == 1 for cells in shown.values())


KEEPING = """
import functools
import numpy as np

@functools.cache
def program(operation):
    return np.ones(6 << 20)

def softmax(x, axis=-1):
    program("softmax")
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)

def scaled_softmax(x, scale, axis=-1):
    program("scaled")
    return softmax(x * x.dtype.type(scale), axis)

def log_softmax(x, axis=-1):
    program("log")
    d = x - x.max(axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis, keepdims=True))

def softcap_softmax(x, cap, axis=-1):
    program("capped")
    return softmax(np.tanh(x / x.dtype.type(cap)) * x.dtype.type(cap), axis)
"""


def test_a_program_for_each_operation_is_no_leak(make_context: MakeContext, tmp_path: Path) -> None:
    """48 MiB each, which a runtime keeps for a graph: no call of one operation takes more."""
    path = tmp_path / "keeping.py"
    path.write_text(KEEPING, encoding="utf-8")
    operations = ("softmax", "scaled_softmax", "log_softmax", "softcap_softmax")
    profile = replace(PROFILE, timing={"cached": replace(GRID, operations=operations)})
    records = measured(make_context(["max_shift", path], profile))
    found = {r.operation: r for r in records if r.implementation == "keeping"}
    assert set(found) == set(operations)
    assert {r.status for r in found.values()} == {"ok"}, [r.reason for r in found.values()]
