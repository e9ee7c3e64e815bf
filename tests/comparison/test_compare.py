"""Comparisons against planted truths: what is worse is found, what is not is never called so."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import verdict_quality
from planted_truths import CLASSES, ROWS, count_work, planted_slowdown, write_kernel
from scipy import stats
from typer.testing import CliRunner
from verdict_trials import Repetition, Trial

from harness.cli.compare import compare as command
from harness.cli.exits import of_comparison
from harness.comparison import Comparison, compare, p_values, timings
from harness.comparison.render import missing_lines, show, to_json, to_markdown
from harness.records import (
    AccuracyRecord,
    DeviceThroughputRecord,
    OverflowRecord,
    Record,
    RunInfo,
    ThroughputRecord,
)
from harness.records.reader import ResultsError, RunWriter

MACHINE = {"slug": "box", "cpu": "a cpu", "logical_cores": 4, "memory_bytes": 1 << 34}


def info(identity: str, **changes: Any) -> RunInfo:
    base: dict[str, Any] = {
        "id": identity,
        "created": f"2026-01-01T00:00:{int(identity[-2:]):02}+00:00",
        "command": [],
        "profile": "quick",
        "seed": 0,
        "workload_version": 1,
        "harness_version": "0",
        "machine": MACHINE,
        "versions": {"numpy": "2"},
        "implementations": [],
        "planned_cells": 1,
    }
    return RunInfo(**{**base, **changes})


def write(
    folder: Path, records: Sequence[Record], identity: str = "run-01", **changes: Any
) -> Path:
    with RunWriter(folder / identity, info(identity, **changes)) as writer:
        for record in records:
            writer.append(record)
        writer.finish()
    return folder / identity


def timed(
    name: str = "a", factor: float = 1.0, *, seed: int = 0, spread: float = 0.01,
    rounds: int = 11, classes: int = 10, **changes: Any,
) -> ThroughputRecord:  # fmt: skip
    """A cell of times above 1 ms times `factor`, by `spread` on average."""
    rng = np.random.default_rng([seed, classes, *name.encode()])
    samples = (1e6 * factor * (1.0 + spread * rng.exponential(1.0, rounds))).tolist()
    fields: dict[str, Any] = {
        "implementation": name,
        "status": "ok",
        "regime": "cached",
        "dtype": "float32",
        "threads": 1,
        "classes": classes,
        "rows": 4,
        "samples_ns": samples,
        "median_ns": float(np.median(samples)),
        "noisy": False,
        "ranked": True,
    }
    return ThroughputRecord(**{**fields, **changes})


def copied(factor: float = 1.0, **changes: Any) -> ThroughputRecord:
    given = {"operation": "copy", "role": "limit", **changes}
    return timed("copy_regular", factor, **given)


def errors(ulp: float | None = 1.0, **changes: Any) -> AccuracyRecord:
    fields: dict[str, Any] = {
        "implementation": "a", "dtype": "float32", "workload": "normal(scale=1)", "classes": 10,
        "rows": 2, "seed": 0, "status": "ok", "max_ulp": ulp, "input_sha256": "00",
        "outcome": "accurate",
    }  # fmt: skip
    return AccuracyRecord(**{**fields, **changes})


def onset(last_good: float | None, **changes: Any) -> OverflowRecord:
    fields: dict[str, Any] = {
        "implementation": "a", "dtype": "float32", "status": "ok", "kind": "threshold",
        "probe": "dominant", "sign": 1, "event": "nonfinite", "occurs": last_good is not None,
        "last_good": last_good, "tolerance_ulp": 8.0,
    }  # fmt: skip
    return OverflowRecord(**{**fields, **changes})


def between(
    tmp_path: Path, base: Sequence[Record], new: Sequence[Record], **options: Any
) -> Comparison:
    return compare(write(tmp_path, base), write(tmp_path, new, "run-02"), **options)


def test_a_run_against_itself_is_equivalent_everywhere(tmp_path: Path) -> None:
    records = [
        timed(), timed(classes=20, noisy=True), timed(classes=30, rounds=1), errors(),
        errors(math.inf, classes=5, status="failed", reason="r"), onset(88.0), onset(None, sign=-1),
        errors(None, classes=6, status="crashed", reason="r"),
        errors(None, classes=7, status="unavailable", reason="r"),
    ]  # fmt: skip
    run = write(tmp_path, records)
    found = compare(run, run)
    assert found.counts == {"worse": 0, "inconclusive": 0, "better": 0, "equivalent": 8}
    assert found.verdict == "equivalent"
    assert of_comparison(found, strict=True) == 0
    assert sum(found.unmeasured.values()) == 1


@pytest.mark.parametrize(("factor", "verdict"), [(1.3, "worse"), (1.0, "equivalent")])
def test_timings_on_a_device_are_compared_as_timings(
    tmp_path: Path, factor: float, verdict: str
) -> None:
    def on_device(record: ThroughputRecord) -> DeviceThroughputRecord:
        kept = {k: v for k, v in record.model_dump(exclude_none=True).items() if k != "threads"}
        changes = {"experiment": "device_throughput", "regime": "streaming", "device": "cuda"}
        return DeviceThroughputRecord(**{**kept, **changes})

    base = [on_device(r) for r in (timed(), timed(classes=20), copied())]
    new = [on_device(r) for r in (timed(factor=factor, seed=1), timed(classes=20), copied(seed=1))]
    found = between(tmp_path, base, new)
    (item,) = (i for i in found.items if ", 10 classes" in i.where and i.implementation == "a")
    assert (item.verdict, item.experiment) == (verdict, "device_throughput")


@pytest.mark.parametrize(
    ("factor", "verdict", "code"),
    [(1.4, "worse", 1), (1 / 1.4, "better", 0), (1.0, "equivalent", 0), (1.02, "equivalent", 0)],
)
def test_a_planted_factor_is_found(tmp_path: Path, factor: float, verdict: str, code: int) -> None:
    base = [timed(classes=c) for c in range(1, 20)] + [copied()]
    new = [timed(factor=factor if c == 3 else 1.0, classes=c, seed=1) for c in range(1, 20)]
    found = between(tmp_path, base, [*new, copied(seed=1)])
    assert {i.verdict for i in found.items if ", 3 classes" in i.where} == {verdict}
    assert {i.verdict for i in found.items if ", 3 classes" not in i.where} == {"equivalent"}
    assert of_comparison(found, strict=False) == code


@pytest.mark.parametrize(
    ("slower", "verdict"),
    [((3,), "inconclusive"), (range(1, 11), "worse"), ((1, 2), "inconclusive")],
)
def test_of_one_process_each_a_lone_difference_may_be_that_of_processes(
    tmp_path: Path, slower: Sequence[int], verdict: str
) -> None:
    """By 20%, as two processes of the same code have differed in one cell of thirteen."""
    base = [timed(classes=c) for c in range(1, 20)] + [copied()]
    new = [timed(factor=1.2 if c in slower else 1.0, classes=c, seed=1) for c in range(1, 20)]
    items = between(tmp_path, base, [*new, copied(seed=1)]).items
    found = [i for i in items if i.verdict != "equivalent"]
    assert [i.verdict for i in found] == [verdict] * len(slower)
    assert all(("--processes 8" in i.reason) is (verdict == "inconclusive") for i in found)


@pytest.mark.parametrize(
    ("factor", "disturbed", "verdict"),
    [(1.2, 0.5, "inconclusive"), (1.0, 0.5, "equivalent"), (1.0, 1.0, "inconclusive")],
)
def test_a_noisy_cell_is_equivalent_by_its_interval_and_never_better_or_worse(
    tmp_path: Path, factor: float, disturbed: float, verdict: str
) -> None:
    noisy = {"noisy": True, "undecided": "known to ±9%: why", "disturbed": disturbed}
    new = timed(factor=factor, seed=1, rounds=12, visits=12, **noisy)
    (item,) = between(tmp_path, [timed(rounds=12, visits=12)], [new]).items
    assert item.verdict == verdict
    assert ("known to ±9%" in item.reason) is (verdict == "inconclusive")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"noisy": True}, "noisy"),
        ({"noisy": True, "undecided": "known to ±9%: why"}, "noisy: known to ±9%"),
        ({"rounds": 2}, "samples"),
        ({"median_ns": 2e6}, "contradicts itself"),
        ({"samples_ns": [0.0] * 11, "median_ns": 0.0}, "no times"),
        ({"spread": 1.5}, "reaches across"),
    ],
)
def test_what_the_samples_do_not_bear_out_is_inconclusive(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    found = between(tmp_path, [timed()], [timed(factor=1.2, seed=1, **change)])
    (item,) = found.items
    assert (
        item.verdict,
        of_comparison(found, strict=False),
        of_comparison(found, strict=True),
    ) == ("inconclusive", 0, 4)
    assert word in item.reason


def test_a_slower_machine_is_no_slower_code(tmp_path: Path) -> None:
    base, new = [timed(), copied()], [timed(factor=1.2, seed=1), copied(1.2, seed=1)]
    (item,) = between(tmp_path, base, new).items
    assert item.verdict == "inconclusive"
    assert "the machine changed" in item.reason


def test_a_slowdown_beyond_the_drift_is_found(tmp_path: Path) -> None:
    base, new = [timed(), copied()], [timed(factor=1.5, seed=1), copied(1.2, seed=1)]
    (item,) = between(tmp_path, base, new).items
    assert item.verdict == "worse"


def test_times_that_failed_the_gate_are_not_compared(tmp_path: Path) -> None:
    struck = {"status": "failed", "reason": "accuracy gate", "ranked": False}
    found = between(tmp_path, [timed(**struck)], [timed(factor=2, **struck)])
    assert [(i.figure, i.verdict) for i in found.items] == [("status", "equivalent")]


def test_two_implementations_of_one_run_are_compared_by_their_times_in_the_same_rounds(
    tmp_path: Path,
) -> None:
    """A machine that is slower for half of the rounds says nothing of either."""
    busy = np.where(np.arange(20) < 10, 1.7, 1.0)
    cells = []
    for name, factor in {"a": 1.0, "b": 1.2, "c": 1.2, "d": 1.0}.items():
        one = timed(name, factor, rounds=20, spread=0.005, baseline="a", visits=20)
        samples = (busy * one.samples_ns).tolist()
        changes = {"samples_ns": samples, "median_ns": float(np.median(samples))}
        cells.append(one.model_copy(update=changes))
    run = write(tmp_path, cells, baseline="a")
    found = {n: compare(f"{run}::a", f"{run}::{n}").items[0] for n in "bcd"}
    assert [found[n].verdict for n in "bcd"] == ["worse", "worse", "equivalent"]
    assert found["b"].implementation == "a -> b"
    assert found["b"].ratio == pytest.approx(1.2, rel=0.01)
    assert compare(f"{run}::b", f"{run}::a").verdict == "better"
    assert compare(f"{run}::b", f"{run}::c").verdict == "equivalent"
    assert compare(f"{run}::b", f"{run}::d").verdict == "better"


def test_what_two_processes_of_the_baseline_differ_by_widens_an_interval(tmp_path: Path) -> None:
    control = timed("a (control)", role="control", speedup=1 / 1.04, baseline="a")
    cells = [timed("a", baseline="a"), timed("b", 1.03, rounds=40), control]
    run = write(tmp_path, cells, baseline="a")
    (item,) = compare(f"{run}::a", f"{run}::b").items
    assert item.verdict == "inconclusive"
    assert item.low is not None
    assert item.high is not None
    assert item.low < 1.0 < 1.06 < item.high


def test_chance_among_many_cells_is_not_called_worse(tmp_path: Path) -> None:
    """400 cells exactly at the threshold."""
    base, new = (
        [timed(f"i{c}", 1.0 + 0.05 * k, classes=c, spread=0.2, seed=k) for c in range(400)]
        for k in (0, 1)
    )
    found = between(tmp_path, base, new)
    assert not found.counts["worse"]
    assert not found.counts["better"]


def test_a_cell_that_is_worse_by_itself_alone_says_so() -> None:
    def cell(number: int, low: float, p: float) -> timings.Timed:
        pair = timings.Pair(timed(classes=number), timed(classes=number), f"i{number}", "")
        return timings.Timed(pair, 1.1, low, 1.2, (1.0, 1.0), p, 1.0)

    cells = [cell(0, 1.06, 0.01), *(cell(n, 0.9, 0.5) for n in range(1, 20))]
    items, _ = timings.judge_all(cells, 0.05)
    assert items[0].verdict == "inconclusive"
    assert "worse by itself" in items[0].reason
    items, _ = timings.judge_all(cells[:1], 0.05)
    assert items[0].verdict == "worse"


def test_six_rounds_in_four_cells_of_one_implementation_are_enough(tmp_path: Path) -> None:
    base = [timed(n, classes=c, rounds=6) for n in "abcd" for c in (1, 2, 3, 4)]
    new = [
        timed(n, 1.2 if n == "b" else 1.0, classes=c, rounds=6, seed=1)
        for n in "abcd"
        for c in (1, 2, 3, 4)
    ]
    found = between(tmp_path, base, new)
    assert {i.implementation for i in found.items if i.verdict == "worse"} == {"b"}
    assert found.counts["worse"] == 4


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [
        ({"ulp": 1.0}, {"ulp": 1.0, "elapsed_s": 3.0}, "equivalent"),
        ({"ulp": 1.0}, {"ulp": 1.2}, "equivalent"),
        ({"ulp": 1.0}, {"ulp": 1.3}, "worse"),
        ({"ulp": 1.3}, {"ulp": 1.0}, "better"),
        ({"ulp": 0.0}, {"ulp": 0.5}, "equivalent"),
        ({"ulp": 0.0}, {"ulp": 1.0}, "worse"),
        ({"ulp": 1.0}, {"ulp": math.inf}, "worse"),
        ({"ulp": math.inf}, {"ulp": 1.0}, "better"),
        ({"ulp": 1.0}, {"ulp": math.nan}, "worse"),
        ({}, {"status": "failed", "reason": "r"}, "worse"),
        ({"status": "failed", "reason": "r"}, {}, "better"),
        ({"status": "failed", "reason": "r"}, {"status": "crashed", "reason": "r"}, "worse"),
        ({}, {"input_sha256": "11"}, "inconclusive"),
        ({}, {"input_sha256": None}, "inconclusive"),
        ({}, {"ulp": None}, "inconclusive"),
        ({}, {"wrong_argmax": 0}, "equivalent"),
        ({"wrong_argmax": 0}, {"wrong_argmax": 1}, "worse"),
        ({"flushed_count": 9}, {"flushed_count": 0}, "better"),
        ({"error_over_bound": 0.2}, {"error_over_bound": 0.9}, "worse"),
        ({"error_over_bound": 0.2, "bound": "x"}, {"error_over_bound": 0.9, "bound": "y"},
         "equivalent"),
        ({}, {"outcome": "inaccurate"}, "inconclusive"),
        ({}, {"ulp": 1.1, "outcome": "inaccurate"}, "worse"),
    ],
)  # fmt: skip
def test_errors_are_compared_as_they_are(
    tmp_path: Path, base: dict[str, Any], new: dict[str, Any], verdict: str
) -> None:
    found = between(tmp_path, [errors(**base)], [errors(**new)])
    assert [i.verdict for i in found.items] == [verdict], found.items[0].reason


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [(88.0, 88.0, "equivalent"), (88.0, 87.0, "worse"), (88.0, None, "better"),
     (None, 88.0, "worse"), (None, None, "equivalent")],
)  # fmt: skip
@pytest.mark.parametrize("sign", [1, -1])
def test_overflow_that_begins_earlier_is_worse(
    tmp_path: Path, base: float | None, new: float | None, verdict: str, sign: int
) -> None:
    records = [onset(None if v is None else sign * v, sign=sign, elapsed_s=e)
               for e, v in ((1.0, base), (2.0, new))]  # fmt: skip
    (item,) = between(tmp_path, records[:1], records[1:]).items
    assert item.verdict == verdict


def test_thresholds_of_different_searches_are_inconclusive(tmp_path: Path) -> None:
    base = write(tmp_path, [onset(88.0)], profile="smoke")
    new = write(tmp_path, [onset(80.0)], "run-02", profile="full")
    assert compare(base, new).verdict == "inconclusive"


def test_cells_of_one_side_are_listed_not_compared(tmp_path: Path) -> None:
    gone = errors(classes=3, status="unavailable", reason="no device")
    found = between(
        tmp_path,
        [errors(), errors(classes=3), errors(classes=4)],
        [errors(), gone, errors(9.0, classes=5)],
    )
    assert len(found.items) == 1
    assert {(m.side, m.reason) for m in found.missing} == {
        ("new", "unavailable: no device"),
        ("new", "has no such cell"),
        ("base", "has no such cell"),
    }
    assert (of_comparison(found, strict=False), of_comparison(found, strict=True)) == (0, 4)
    assert len(missing_lines(found.missing)) == 3


def test_timings_of_different_machines_are_refused(tmp_path: Path) -> None:
    base = write(tmp_path, [timed(), errors()])
    other = {**MACHINE, "cpu": "another"}
    new = write(tmp_path, [timed(factor=2, seed=1), errors()], "run-02", machine=other)
    found = compare(base, new)
    assert [i.experiment for i in found.items] == ["accuracy"]
    assert "cpu 'a cpu' and 'another'" in found.notes[0]
    assert of_comparison(compare(base, new, across_machines=True), strict=False) == 1


def test_all_threads_of_two_machines_match_when_asked(tmp_path: Path) -> None:
    base = write(tmp_path, [timed(threads=4)])
    new = write(
        tmp_path, [timed(threads=8, seed=1)], "run-02", machine={**MACHINE, "logical_cores": 8}
    )
    assert len(compare(base, new, across_machines=True).items) == 1


def test_nothing_comparable_has_its_own_exit_code(tmp_path: Path) -> None:
    found = between(tmp_path, [errors(classes=1)], [errors(classes=2)])
    assert (
        found.verdict,
        of_comparison(found, strict=False),
        of_comparison(found, strict=True),
    ) == ("nothing", 3, 3)


@pytest.mark.parametrize(
    ("base", "new", "word"),
    [("{0}", "{0}::a", "on both sides"), ("{0}::a", "{0}::zz", "no implementation 'zz'"),
     ("{1}", "{0}", "holds 2 runs"), ("{0}/no", "{0}", "no such file")],
)  # fmt: skip
def test_sides_that_cannot_be_read_are_refused(
    tmp_path: Path, base: str, new: str, word: str
) -> None:
    run = write(tmp_path, [errors()])
    write(tmp_path, [errors()], "run-02")
    with pytest.raises(ResultsError, match=word):
        compare(base.format(run, tmp_path), new.format(run, tmp_path))


def test_markdown_shows_what_strangers_wrote_and_interprets_nothing(tmp_path: Path) -> None:
    bad = "<img src=x> | @you `rm`\n# title"
    found = between(tmp_path, [errors()], [errors(status="crashed", reason=bad)])
    text = to_markdown(found)
    assert "<img" not in text.replace("\\<img", "")
    assert "@you" not in text
    assert "\n# title" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| worse | accuracy")]
    assert row.replace("\\|", "").count("|") == 10


def test_the_screen_begins_with_the_verdict_and_says_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [errors(None, implementation=n, status="unavailable", reason="no device") for n in "bc"]
    classes = (20, 30, 40)
    base = [errors(1.0), onset(88.0), *(timed(classes=n, noisy=True) for n in classes), *gone]
    new = [errors(9.0), onset(70.0), *(timed(classes=n, seed=1) for n in classes), *gone]
    show(between(tmp_path, base, new))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "verdict: worse (2 worse, 3 inconclusive)"
    worse = [line for line in lines if line.startswith("worse: ")]
    assert [line.count("max ulp") for line in worse] == [1, 0]
    assert [line.count("70.0") for line in worse] == [0, 1]
    (unclear,) = [line for line in lines if line.startswith("inconclusive: ")]
    assert "3 cells of throughput (a)" in unclear
    assert "on neither side: 2 cells (b, c): unavailable: no device" in lines


def test_an_interval_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(between(tmp_path, [timed()], [timed(factor=2.0, seed=1)]))
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("worse: ")]
    assert "ratio 2." in line or "ratio 1." in line
    assert line.count("[") == 1


def test_json_is_strict_and_whole(tmp_path: Path) -> None:
    found = between(tmp_path, [errors(), timed()], [errors(math.inf), timed(seed=1)])

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    data = json.loads(to_json(found), parse_constant=refuse)
    assert data["verdict"] == "worse"
    assert data["items"][0]["new"] == "Infinity"
    assert data["items"][1]["low"] < data["items"][1]["ratio"] < data["items"][1]["high"]


APP = typer.Typer()
APP.command()(command)


@pytest.mark.parametrize(
    ("factor", "options", "code"),
    [(1.0, [], 0), (1.2, [], 1), (1.2, ["--threshold", "0.5"], 0), (1.05, ["--strict"], 4)],
)
def test_exit_codes_of_the_command(
    tmp_path: Path, factor: float, options: list[str], code: int
) -> None:
    base = write(tmp_path, [timed()])
    new = write(tmp_path, [timed(factor=factor, seed=1)], "run-02")
    out = tmp_path / "c.md"
    done = CliRunner().invoke(APP, [str(base), str(new), "--markdown", str(out), *options])
    assert done.exit_code == code, done.output
    assert out.read_text(encoding="utf-8").startswith("## softmax-bench compare")


def test_a_folder_alone_compares_its_two_newest_runs(tmp_path: Path) -> None:
    for i, factor in enumerate((1.0, 1.0, 1.3)):
        write(tmp_path, [timed(factor=factor, seed=i)], f"run-0{i}")
    done = CliRunner().invoke(APP, [str(tmp_path)])
    assert done.exit_code == 1, done.output
    assert "3 runs on box" in done.output


def test_one_run_alone_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(APP, [str(write(tmp_path, [timed()]))])
    assert done.exit_code == 2
    assert "one run" in done.output


# The statistics, against other routes to the same numbers and against planted truths.


def measured(
    base: ThroughputRecord, new: ThroughputRecord, threshold: float, *,
    same: tuple[float, float] = (1.0, 1.0), its: ThroughputRecord | None = None,
) -> timings.Timed:  # fmt: skip
    pair = timings.Pair(base, new, "a", f"{base.classes}")
    times = timings.Times(base, new, None if its is None else (its, its))
    return timings.measure(pair, times, threshold, same, None if its is None else "base")


@pytest.mark.parametrize("rounds", [10, 40])
@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_of_a_ratio_cover_the_truth(rounds: int, skewed: bool) -> None:
    rng = np.random.default_rng(rounds + skewed)
    covered = 0
    for _ in range(200):
        a, b = 1e6 * (1.0 + 0.05 * (rng.exponential(1.0, (2, rounds)) if skewed
                                    else rng.random((2, rounds))))  # fmt: skip
        found = measured(
            timed(samples_ns=a.tolist(), visits=rounds),
            timed(samples_ns=(1.3 * b).tolist(), visits=rounds),
            0.05,
        )
        covered += found.low <= 1.3 <= found.high
    assert covered >= 0.95 * 200


@pytest.mark.parametrize("rounds", [5, 11, 40])
def test_at_the_threshold_itself_claims_are_rare(rounds: int) -> None:
    """The hardest truth: every ratio exactly at the threshold. At most 5% of comparisons err."""
    wrong = 0
    for trial in range(60):
        cells = []
        for c in range(20):
            base, new = (
                timed(factor=f, rounds=rounds, spread=0.05, classes=c, seed=2 * trial + k)
                for k, f in enumerate((1.0, 1.05))
            )
            cells.append(measured(base, new, 0.05))
        items, _ = timings.judge_all(cells, 0.05)
        wrong += any(i.verdict == "worse" for i in items)
    assert wrong <= 6  # P(more than 6 of 60 at 5%) is 3%; seeded


def test_holm_rejects_step_by_step() -> None:
    for p, rejected in (
        ({"a": 0.01, "b": 0.02, "c": 0.04, "d": 0.9}, {"a"}),
        ({"a": 0.01, "b": 0.016, "c": 0.02}, {"a", "b", "c"}),
        ({"a": 0.02, "b": 0.02, "c": 0.02}, set()),
    ):
        assert p_values.holm(p, 0.05) == rejected


def _of_processes(
    rng: np.random.Generator, factor: float, count: int = 8, between: float = 0.02
) -> ThroughputRecord:
    """Samples of processes that differ from each other by `between`, and rounds by 1%."""
    each = between * rng.standard_normal((count, 1))
    samples = 1e6 * factor * np.exp(each + 0.01 * rng.standard_normal((count, 5)))
    return ThroughputRecord(
        implementation="a", status="ok", regime="cached", dtype="float32", threads=1, classes=8,
        processes=None if count == 1 else count, samples_ns=samples.ravel().tolist(),
        visits=samples.size, baseline="base",
    )  # fmt: skip


def _constant(count: int = 8) -> ThroughputRecord:
    """A baseline whose processes are all alike."""
    return _of_processes(np.random.default_rng(0), 1.0, count).model_copy(
        update={"samples_ns": [1e6] * 5 * count}
    )


@pytest.mark.parametrize("its", [_constant(), None], ids=["in terms of a baseline", "in ns"])
def test_processes_are_the_sample_and_not_their_samples(its: ThroughputRecord | None) -> None:
    """Taken for visits to one process, these would be told apart most of the time."""
    rng = np.random.default_rng(3)
    wrong, found, fooled = 0, 0, 0
    for _ in range(200):
        for factor in (1.0, 1.15):
            one = measured(_of_processes(rng, 1.0), _of_processes(rng, factor), 0.005, its=its)
            assert one.low < one.ratio < one.high
            (item,), _ = timings.judge_all([one], 0.005)
            wrong += factor == 1.0 and item.verdict in ("worse", "better")
            found += factor > 1.0 and item.verdict == "worse"
        pooled = measured(_of_processes(rng, 1.0, 1), _of_processes(rng, 1.0, 1), 0.005)
        fooled += pooled.low > 1.005 or pooled.high < 1 / 1.005
    assert wrong <= 5
    assert found >= 198
    assert fooled > 15


def test_what_processes_differ_by_takes_the_place_of_what_controls_differ_by() -> None:
    rng = np.random.default_rng(1)
    several, one = (
        [_of_processes(rng, 1.0, count) for _ in range(2)] for count in (8, 1)
    )  # fmt: skip
    assert measured(*several, 0.01, same=(0.9, 1.2), its=_constant()).same == (1.0, 1.0)
    between_runs = measured(*several, 0.01, same=(0.9, 1.2))
    assert between_runs.same == (0.9, 1.2)  # the machine may have changed
    between_runs = measured(*one, 0.01, same=(0.9, 1.2))
    assert between_runs.low < 0.9 < 1.1 < between_runs.high


def test_too_few_processes_are_visits_like_any_others() -> None:
    record = _of_processes(np.random.default_rng(1), 1.0, 3)
    assert timings.of_processes(record) == 1
    assert timings.Times(record, record).of_processes is None


def test_tests_of_several_cells_are_stronger_together() -> None:
    assert p_values.together([0.05]) == 0.05
    expected = stats.combine_pvalues([0.05] * 4, method="stouffer").pvalue
    assert p_values.together([0.05] * 4) == pytest.approx(expected)
    assert p_values.together([0.05, 1.0]) > 0.99


def test_values_that_are_all_alike_say_nothing_but_beyond_the_threshold() -> None:
    assert p_values.above(np.full(8, 0.1), np.zeros(8)) < 1e-9
    assert p_values.above(np.full(8, -0.1), np.zeros(8)) == 1.0
    assert p_values.above(np.zeros(8), np.zeros(8)) == 1.0
    some = np.random.default_rng(0).normal(0.1, 0.01, 8)
    above, below = p_values.above(some, np.zeros(8)), p_values.above(np.zeros(8), -some)
    assert above == pytest.approx(stats.ttest_1samp(some, 0.0, alternative="greater").pvalue)
    assert below == pytest.approx(above)


def test_a_hypothesis_that_says_the_same_twice_is_tested_once() -> None:
    rng = np.random.default_rng(0)
    one = measured(_of_processes(rng, 1.0), _of_processes(rng, 1.2), 0.01, its=_constant())
    _, tests = timings.judge_all([one], 0.01)
    assert tests == 2


def test_the_planted_kernels_do_exactly_as_much_more_work_as_they_say(tmp_path: Path) -> None:
    base = write_kernel(tmp_path, "first", 0)
    assert planted_slowdown(base, write_kernel(tmp_path, "second", 5)) == pytest.approx(0.05)
    assert planted_slowdown(base, write_kernel(tmp_path, "third", 2)) == pytest.approx(0.02)
    assert planted_slowdown(base, base) == 0.0
    assert count_work(base)["exp"] == 100 * ROWS * CLASSES


def test_a_trial_says_what_was_found_and_what_was_called_wrongly() -> None:
    def one(verdict: str, noisy: bool = False) -> Repetition:
        return Repetition(verdict, noisy, 1.05, 1.04, 1.06, (0.99, 1.01), 0, 3.0, "")

    noise = [one("inconclusive", True), one("worse", True)]  # found by noise is not found
    found = [one("worse")] * 7 + noise + [one("better"), one("equivalent", True)]
    row = Trial("5% more work", 0.05, False, found).row()
    assert row.startswith("| 5% more work | 11 | 3 | 7 of 8 | 0 | 0 | 2 | 1.0500 | 3.0 to 3.0 s |")
    same = Trial("same", 0.0, True, found).row()
    assert same.startswith("| same | 11 | 3 | – | 0 | 0 | 9 |")  # a wrong claim is never excused


@pytest.mark.parametrize(
    "table",
    [
        verdict_quality.paired_quality,
        verdict_quality.processes_quality,
        verdict_quality.step_quality,
    ],
    ids=lambda table: table.__name__,
)
def test_the_tables_of_quality_have_a_line_for_each_setting(table: Any) -> None:
    header, rule, *lines = table(1)
    columns = header.count("|")
    assert rule.count("---") == columns - 1
    assert len(lines) >= 8
    assert all(line.count("|") == columns for line in lines)
