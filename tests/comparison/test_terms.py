"""Two runs compared in terms of what did not change between them, against planted truths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.exits import of_comparison
from harness.comparison import Comparison, compare
from harness.records import ImplementationInfo, Record, RunInfo, ThroughputRecord
from harness.records.reader import RunWriter

MACHINE = {"slug": "box", "cpu": "a cpu", "logical_cores": 4, "memory_bytes": 1 << 34}
VERSIONS = {"python": "3", "numpy": "2"}
ROUNDS = 40


def _described(name: str, sha256: str) -> ImplementationInfo:
    return ImplementationInfo(
        name=name, description="", documentation="", backend="numpy", device="cpu", dtypes=[],
        operations=["softmax"], operations_with_out=[], available=True, sha256=sha256,
    )  # fmt: skip


def _write(
    folder: Path, identity: str, records: Sequence[Record], sources: dict[str, str], **changes: Any
) -> Path:
    fields: dict[str, Any] = {
        "id": identity, "created": "2026-01-01T00:00:00+00:00", "command": [], "profile": "quick",
        "seed": 0, "workload_version": 1, "harness_version": "0", "machine": MACHINE,
        "versions": VERSIONS, "planned_cells": 1, "baseline": "base",
        "implementations": [_described(n, s) for n, s in sources.items()],
    }  # fmt: skip
    with RunWriter(folder / identity, RunInfo(**{**fields, **changes})) as writer:
        for record in records:
            writer.append(record)
        writer.finish()
    return folder / identity


def _run(
    seed: int, machine: float, factors: dict[str, float], *, processes: int | None = None,
    common: float = 0.3, control: float = 1.0,
) -> list[Record]:  # fmt: skip
    """One cell of a machine that slows some visits, others to others.

    Args:
        machine: by how much all of the run is slower.
        factors: times of the implementations, over that of the baseline.
        common: by how much a visit is slowed on average, beside half a percent.
        control: what the other process of the baseline takes, over it.
    """
    rng = np.random.default_rng(seed)
    found: list[Record] = []
    for name, factor in {"base": 1.0, "base (control)": control, **factors}.items():
        slowed = common * rng.exponential(1.0, ROUNDS) * (rng.random(ROUNDS) < 0.3)
        samples = 1e6 * machine * factor * (1.0 + slowed + 0.005 * rng.random(ROUNDS))
        found.append(
            ThroughputRecord(
                implementation=name, status="ok", regime="cached", dtype="float32", threads=1,
                classes=10, rows=4, samples_ns=samples.tolist(), noisy=False, ranked=True,
                median_ns=float(np.median(samples)), processes=processes, visits=ROUNDS,
                role="control" if "control" in name else "implementation", baseline="base",
                speedup=1.0 / factor,
            )
        )  # fmt: skip
    copied = 1e6 * machine * (1.0 + common * rng.exponential(1.0, ROUNDS))
    found.append(
        ThroughputRecord(
            implementation="copy_regular", operation="copy", role="limit", status="ok",
            regime="cached", dtype="float32", threads=1, classes=10, rows=4,
            samples_ns=copied.tolist(), median_ns=float(np.median(copied)),
        )
    )  # fmt: skip
    return found


SOURCES = {"base": "00", "a": "01", "b": "02"}
CHANGED = {**SOURCES, "a": "03"}


def _compared(folder: Path, base: list[Record], new: list[Record], **changes: Any) -> Comparison:
    sources = changes.pop("sources", CHANGED)
    return compare(
        _write(folder, "run-01", base, SOURCES), _write(folder, "run-02", new, sources, **changes)
    )


def _verdicts(found: Comparison) -> dict[str, str]:
    return {i.implementation: i.verdict for i in found.items}


def _wandering(records: list[Record], seed: int, told: bool) -> list[Record]:
    """The same on a core whose clock wanders by some percent, for all visits of a round alike.

    Args:
        told: whether the records tell when their visits were.
    """
    rng = np.random.default_rng(seed)
    clock = np.exp(0.04 * np.sin(np.cumsum(rng.standard_normal(ROUNDS))))
    clock[rng.integers(ROUNDS, size=2)] *= 0.93
    at = (1e6 * seed + np.arange(ROUNDS)).tolist() if told else None
    return [
        r.model_copy(update={"samples_ns": (np.array(r.samples_ns) * clock).tolist(),
                             "median_ns": float(np.median(np.array(r.samples_ns) * clock)),
                             "visits_at": at if r.implementation != "copy_regular" else None})
        for r in records if isinstance(r, ThroughputRecord)
    ]  # fmt: skip


@pytest.mark.parametrize("told", [True, False])
def test_neighbours_in_time_have_the_same_clock(tmp_path: Path, told: bool) -> None:
    """Each run has its own moments; 6% of `a` are found, and `b` is equivalent, by neighbours."""
    base = _wandering(_run(1, 1.0, {"a": 0.5, "b": 0.7}, common=0.0), 3, told)
    new = _wandering(_run(2, 1.0, {"a": 0.53, "b": 0.7}, common=0.0), 4, told)
    found = compare(
        _write(tmp_path, "run-01", base, SOURCES), _write(tmp_path, "run-02", new, CHANGED),
        threshold=0.02,
    )  # fmt: skip
    mine = {n: v for n, v in _verdicts(found).items() if n != "base"}
    assert mine == dict.fromkeys("ab", "inconclusive") | (
        {"a": "worse", "b": "equivalent"} if told else {}
    )


@pytest.mark.parametrize("processes", [None, 8])
def test_what_slows_everything_cancels(tmp_path: Path, processes: int | None) -> None:
    """The new run is 30% slower and its samples scatter by as much; 20% of `a` are found in it."""
    times = {"processes": processes}
    base = _run(1, 1.0, {"a": 0.5, "b": 0.7}, **times)  # type: ignore[arg-type]
    new = _run(2, 1.3, {"a": 0.6, "b": 0.7}, **times)  # type: ignore[arg-type]
    found = _compared(tmp_path, base, new)
    assert _verdicts(found) == {"a": "worse", "b": "equivalent", "base": "inconclusive"}
    (item,) = (i for i in found.items if i.implementation == "a")
    assert item.ratio == pytest.approx(1.2, rel=0.02)
    assert "in terms of base" in item.reason
    assert of_comparison(found, strict=False) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"sources": {**CHANGED, "base": "04"}},
        {"versions": {**VERSIONS, "numpy": "3"}},
        {"baseline": "b"},
        {"baseline": None},
        {"sources": {"a": "03", "b": "02"}},
    ],
    ids=["source", "version", "another", "none", "undescribed"],
)
def test_a_baseline_that_changed_is_no_unit(tmp_path: Path, changes: dict[str, Any]) -> None:
    base, new = (_run(seed, 1.0 + 0.3 * seed, {"a": 0.5, "b": 0.7}) for seed in (0, 1))
    found = _compared(tmp_path, base, new, **changes)
    assert not [i for i in found.items if "in terms of" in i.reason]
    assert "equivalent" not in _verdicts(found).values()


def test_an_interval_is_as_wide_as_the_baseline_moved_against_its_control(tmp_path: Path) -> None:
    """Its process of the new run was slow by itself: all others look as much faster."""
    base = _run(1, 1.0, {"a": 0.5})
    new = _run(2, 1.0, {"a": 0.4}, control=0.8)
    found = _compared(tmp_path, base, new)
    assert _verdicts(found)["a"] == "inconclusive"
    (item,) = (i for i in found.items if i.implementation == "a")
    assert item.low is not None
    assert item.high is not None
    assert item.low < 0.82 < 0.98 < item.high


def test_what_differs_by_the_threshold_is_seldom_called_equivalent(tmp_path: Path) -> None:
    """Over processes: one time in twenty at most, and what differs by less than it as a rule."""
    found = Counter[str]()
    for seed in range(40):
        base = _run(2 * seed, 1.0, {"a": 0.5, "b": 0.7}, processes=8, common=0.02)
        new = _run(2 * seed + 1, 1.0, {"a": 0.525, "b": 0.714}, processes=8, common=0.02)
        found += Counter(
            i.implementation for i in _compared(tmp_path / str(seed), base, new).items
            if i.verdict == "equivalent"
        )  # fmt: skip
    assert found["a"] <= 4
    assert found["b"] >= 36


def test_unchanged_code_is_seldom_called_better_or_worse(tmp_path: Path) -> None:
    wrong = 0
    for seed in range(100):
        folder = tmp_path / str(seed)
        base, new = (_run(2 * seed + k, 1.0 + 0.3 * k, {"a": 0.5}, processes=8) for k in (0, 1))
        wrong += _verdicts(_compared(folder, base, new))["a"] in ("better", "worse")
    assert wrong == 0
