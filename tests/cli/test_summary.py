"""The table at the end of a run: its order, its best, its reasons, and how it fits a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import report_run
from rich.cells import cell_len
from rich.console import Console

from harness.cli.columns import number
from harness.cli.summary import summary
from harness.cli.unavailable import unavailable
from harness.records import RECORD
from harness.records.reader import Run, read_run

RESULTS = Path(__file__).parents[2] / "results"
WIDE = 300


def run_of(cells: Sequence[dict[str, Any]], *names: str, **about: Any) -> Run:
    """A run of some cells and of the implementations that they, or `names`, name."""
    found = dict.fromkeys([*names, *(c["implementation"] for c in cells if "role" not in c)])
    problems = about.pop("problems", [])
    about = {
        "implementations": [report_run.implementation(name) for name in found],
        "baseline": "max_shift",
        "warnings": [],
        **about,
    }
    described = report_run.info(**about)
    return Run(Path("run"), described, [RECORD.validate_python(c) for c in cells], problems)


def shown(run: Run, width: int = WIDE) -> str:
    file = io.StringIO()
    summary(run, Console(width=width, file=file))
    return file.getvalue()


def rows_of(text: str, names: Sequence[str]) -> dict[str, list[str]]:
    """The rows of the table, in their order: the figures of each implementation."""
    _, _, table = text.partition("\nimplementation")
    split = [line.split() for line in table.partition("\n\n")[0].splitlines()]
    return {words[0]: words[1:] for words in split if words and words[0] in names}


def timed(**changes: Any) -> dict[str, Any]:
    """A cell of a throughput in the streaming regime."""
    figures = {"gbps": 1.0, "percent_of_limit": 10.0, "ranked": True, "status": "ok"}
    place = {"experiment": "throughput", "implementation": "max_shift", "regime": "streaming"}
    return {**place, **figures, "dtype": "float32", "classes": 1000, "threads": 1, **changes}


def ratio(name: str, value: float, reach: float = 0.01, **changes: Any) -> dict[str, Any]:
    """A timing in cache, with the interval of its ratio to the baseline."""
    interval = {"speedup_low": value - reach, "speedup_high": value + reach}
    return timed(implementation=name, regime="cached", speedup=value, **{**interval, **changes})


def error(name: str, ulp: float | str | None, **changes: Any) -> dict[str, Any]:
    place = {"experiment": "accuracy", "implementation": name, "dtype": "float32"}
    return {**place, "status": "ok", "max_ulp": ulp, "workload": "digits", "classes": 10, **changes}


def threshold(name: str, last: float | None, **changes: Any) -> dict[str, Any]:
    probe = {"kind": "threshold", "event": "nonfinite", "probe": "dominant", "sign": 1}
    place = {"experiment": "overflow", "implementation": name, "dtype": "float32"}
    found = {"occurs": last is not None, "last_good": last, "status": "ok"}
    return {**place, **probe, **found, **changes}


@pytest.mark.parametrize(
    ("cells", "present", "absent"),
    [
        ([], ["cells: none"], ["GB/s", "None", "max ulp", "overflow", "speed", "implementation "]),
        (
            [error("max_shift", 65.75)],
            ["max ulp: the largest error on any input tried", "float32", " 65.8"],
            ["GB/s", "None", "speed", "overflow", "float64"],
        ),
        ([error("max_shift", 0.5, dtype="bfloat16")], ["bfloat16", " 0.5"], ["float32"]),
        ([timed(regime="latency")], [], ["GB/s", "None", "speed"]),
        ([timed(regime="latency", speedup=1.25)], ["speed ×", " 1.25", "of one row"], ["GB/s"]),
        ([timed(regime="cached", noisy=True)], [], ["speed", "~"]),
        ([timed(gbps=None, status="skipped", noisy=True)], ["skipped"], ["~"]),
        ([timed(gbps=None, status="error", reason="x")], ["error", "nothing was timed"], ["None"]),
        ([timed(gbps=None, status="out_of_memory", reason="x")], ["memory"], ["out_of_memory "]),
        (
            [timed(gbps=None, status="unsupported", reason="x"), error("max_shift", 1.0)],
            [], ["GB/s"],
        ),
        ([timed(implementation="copy_regular", role="limit")], [], ["GB/s", "None"]),
        (
            [timed()],
            ["% of copy: beyond the cache (softmax, float32, 1000 classes, 1 thread)"], ["speed"],
        ),
        ([timed(regime="cached", speedup=1.25)], ["speed ×", " 1.25"], ["GB/s"]),
        ([timed(noisy=True)], ["~1", "~10", "not known to the precision"], ["* best"]),
        (
            [timed(dtype="float64", gbps=2.0), timed(gbps=3.0), timed(classes=7, gbps=4.0)],
            ["float32, 1000 classes", " 3 "],
            [" 2 ", " 4 "],
        ),
        (
            [timed(dtype="float64", gbps=2.5), timed(dtype="bfloat16", gbps=3.5)],
            ["bfloat16, 1000 classes", " 3.5 "],
            [" 2.5 "],
        ),
        (
            [timed(classes=100, gbps=2.5), timed(classes=10_000, gbps=3.5)],
            [" 100 classes", " 2.5 "],
            [" 3.5 "],
        ),
        (
            [timed(dtype="float64", classes=7, operation="log_softmax", gbps=2.0)],
            ["(log_softmax, float64, 7 classes, 1 thread)", " 2 "],
            ["float32 "],
        ),
        (
            [timed(experiment="device_throughput", threads=None, gbps=2000.0)],
            ["device", "on the device (softmax, float32, 1000 classes)", " 2000 "],
            ["beyond the cache"],
        ),
        (
            [{"experiment": "conformance", "implementation": "max_shift", "case": c, "status": s,
              "verdict": "pass"} for c, s in (("a", "ok"), ("b", "failed"), ("c", "skipped"))],
            ["failed", "1/2"],
            ["ulp"],
        ),
        (
            [{"experiment": "worst_case", "implementation": "max_shift", "dtype": "float32",
              "status": "ok", "error_ulp": 65.75}],
            ["float32", " 65.8"],
            ["None"],
        ),
    ],
    ids=[
        "nothing", "accuracy alone", "another format alone", "another regime", "one row",
        "no ratio", "skipped", "no timing succeeded", "memory", "unsupported", "limits alone",
        "the usual", "in cache", "not known", "the usual among others",
        "two other formats", "two as near", "another format, operation and size",
        "on a device", "conformance", "worst case",
    ],
)  # fmt: skip
def test_the_summary_says_what_was_measured_and_nothing_of_what_was_not(
    cells: list[dict[str, Any]], present: list[str], absent: list[str]
) -> None:
    text = shown(run_of(cells, "max_shift"))
    assert [p for p in present if p not in text] == []
    assert [a for a in absent if a in text] == []


def test_rows_are_ordered_by_speed_then_what_is_not_ranked_then_what_was_not_timed() -> None:
    cells = [
        error("untimed", 0.5), ratio("slow", 1.0), ratio("fast", 3.0),
        ratio("wrong", 9.0, ranked=False, status="failed", reason="accuracy gate: far off"),
        ratio("unclear", 2.0, noisy=True),
    ]  # fmt: skip
    text = shown(run_of(cells))
    rows = rows_of(text, ["untimed", "slow", "fast", "wrong", "unclear"])
    assert list(rows) == ["fast", "unclear", "slow", "wrong", "untimed"]
    assert [words[0] for words in rows.values()] == ["*3", "~2", "1", "!9", "–"]
    assert "wrong: timings not ranked (1): accuracy gate: far off" in text
    assert "! not ranked" in text


def test_without_timings_rows_are_ordered_by_accuracy() -> None:
    cells = [error("bad", "Infinity", status="failed"), error("fair", 70.0), error("good", 0.5)]
    rows = rows_of(shown(run_of(cells, "absent")), ["bad", "fair", "good", "absent"])
    assert list(rows) == ["good", "fair", "bad", "absent"]


def test_the_best_are_all_that_the_interval_of_the_first_does_not_tell_from_it() -> None:
    cells = [ratio("first", 3.0, 0.2), ratio("second", 2.9, 0.2), ratio("third", 2.5, 0.2)]
    text = shown(run_of(cells))
    rows = rows_of(text, ["first", "second", "third"])
    assert [words[0] for words in rows.values()] == ["*3", "*2.9", "2.5"]
    assert "Fastest in cache: first or second, 3 × max_shift." in text
    assert "* best, or not told apart from it" in text


def test_what_is_not_known_well_is_never_best_and_may_be() -> None:
    cells = [ratio("sure", 3.0), ratio("unclear", 3.5, 1.0, noisy=True)]
    text = shown(run_of(cells))
    rows = rows_of(text, ["sure", "unclear"])
    assert {name: words[0] for name, words in rows.items()} == {"unclear": "~3.5", "sure": "*3"}
    assert "Fastest in cache: sure, 3 × max_shift or perhaps unclear, ~3.5 × max_shift." in text


def test_where_nothing_is_known_well_nothing_is_best() -> None:
    text = shown(run_of([ratio(n, v, noisy=True) for n, v in (("one", 1.0), ("other", 2.0))]))
    assert "Fastest in cache: perhaps other, ~2 × max_shift." in text
    assert "*" not in text


def test_one_alone_is_not_called_the_best() -> None:
    text = shown(run_of([ratio("max_shift", 1.0), error("max_shift", 0.5)]))
    assert "Fastest" not in text
    assert "accurate" not in text
    assert "*" not in text


def test_the_most_accurate_was_measured_on_all_inputs_and_shares_with_what_looks_the_same() -> None:
    cells = [
        error("one", 0.50001), error("one", 0.2, classes=100),
        error("same", 0.49999), error("same", 0.5, classes=100),
        error("lucky", 0.1), error("lucky", None, classes=100, status="crashed", reason="SIGSEGV"),
    ]  # fmt: skip
    text = shown(run_of(cells))
    rows = rows_of(text, ["one", "same", "lucky"])
    assert {name: words[0] for name, words in rows.items()} == {
        "one": "*0.5", "same": "*0.5", "lucky": "0.1",
    }  # fmt: skip
    assert "Most accurate in float32: one and same, 0.5 ulp." in text


def test_who_overflows_is_said_first() -> None:
    cells = [threshold("naive", 88.72283172607422), threshold("online", None)]
    text = shown(run_of(cells))
    assert "Overflows: naive above t = 88.72." in text
    assert rows_of(text, ["naive", "online"]) == {"online": ["never"], "naive": ["88.7228317"]}


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (
            error("naive", "Infinity", status="failed", reason="nan", deviation="overflow"),
            "naive: inf ulp (float32, digits, 10 classes): e^x is infinite for large x (declared)",
        ),
        (
            error("naive", 8.3e6, status="failed", reason="far off", diagnosis="the sum is short"),
            "naive: 8.3e6 ulp (float32, digits, 10 classes): the sum is short",
        ),
        (
            error("naive", 5000.0, status="failed", reason="12 times the bound"),
            "naive: 5000 ulp (float32, digits, 10 classes): 12 times the bound",
        ),
        (
            error("naive", 7721.8, error_over_bound=0.5),
            "(float32, digits, 10 classes): the bound of its algorithm allows 2 times as much",
        ),
        (error("naive", 1000.0), "no bound says what is allowed"),
        (
            error("naive", None, status="failed", reason="not finite", nonfinite=3),
            "naive: inf ulp (float32, digits, 10 classes): not finite",
        ),
        (
            error("naive", None, status="crashed", reason="SIGSEGV"),
            "naive: nothing was measured, crashed: SIGSEGV",
        ),
    ],
    ids=["declared", "diagnosed", "failed", "allowed", "no bound", "lost infinity", "crashed"],
)
def test_what_startles_carries_its_reason(cell: dict[str, Any], told: str) -> None:
    deviation = {"id": "overflow", "reason": "e^x is infinite for large x"}
    about = [report_run.implementation("naive", deviations=[deviation])]
    assert told in shown(run_of([cell], implementations=about))


def test_failed_cases_carry_the_reason_of_the_first() -> None:
    cells = [
        {"experiment": "conformance", "implementation": "jax", "case": case, "status": "failed",
         "dtype": "float32", "title": f"title of {case}", "message": f"got {case}"}
        for case in ("a", "b")
    ]  # fmt: skip
    told = "jax: failed cases (2), the first: softmax float32, title of a: got a"
    assert told in shown(run_of(cells))


def test_an_error_below_a_thousand_ulp_does_not_startle() -> None:
    assert "classes)" not in shown(run_of([error("max_shift", 999.0), error("max_shift", 510.0)]))


def test_at_most_three_reasons_are_told_the_worst_first_and_the_rest_counted() -> None:
    text = shown(run_of([error(f"name{i}", 1000.0 * i) for i in range(1, 6)]))
    assert re.findall(r"^(name\d): \d+ ulp", text, re.M) == ["name5", "name4", "name3"]
    assert "2 more: see the report" in text


def test_at_most_three_warnings_are_told_those_of_timings_first() -> None:
    warnings = [f"w{i}: cause; what to do" for i in range(4)] + ["timings: cause; what to do"]
    text = shown(run_of([], warnings=warnings))
    assert re.findall(r"^warning: (\w+)", text, re.M) == ["timings", "w0", "w1", "2"]
    assert f"warning: 2 more: see {Path('run', 'run.json')}" in text


def test_how_cells_ended_tells_declared_failures_from_others() -> None:
    cells = [
        error("naive", 2.0, status="failed", reason="r", deviation="overflow", classes=c)
        for c in (1, 2)
    ]
    cells += [error("naive", 2.0, status="failed", reason="r"), error("naive", 1.0, classes=3)]
    assert "cells: 1 ok, 2 failed as declared, 1 failed" in shown(run_of(cells))


PIP = "pip install 'softmax-bench[{}]'".format


def test_what_is_unavailable_is_one_paragraph_by_what_would_install_it() -> None:
    jax = f"package 'jax' is not installed; {PIP('peers')}"
    lacking = f"package 'openvino' is not installed; {PIP('peers')}"
    reasons = {
        "gpu": "no CUDA device: no driver", "jax": jax, "openvino": lacking,
        "tf": f"package 'tensorflow' is not installed; {PIP('tensorflow')}",
        "mine": "package 'x' is not installed; install x", "gpu2": "no CUDA device: no driver",
        "odd": None,
    }  # fmt: skip
    told = unavailable(reasons)
    assert told == (
        f"7 not available: {PIP('peers')} for jax, openvino; {PIP('tensorflow')} for tf; "
        f"install x for mine; gpu, gpu2: no CUDA device: no driver; odd: no reason given"
    )
    about = [report_run.implementation(n, available=False, unavailable_reason=r)
             for n, r in reasons.items()]  # fmt: skip
    text = shown(run_of([], implementations=about), width=60)
    assert " ".join(told.split()) in " ".join(text.split())
    assert any(PIP("tensorflow") in line for line in text.splitlines())  # to be copied


COMMITTED = [
    pytest.param(RESULTS / "amd-epyc-2c/20261201T034322Z-bf0bc6", marks=pytest.mark.slow),
    RESULTS / "amd-epyc-4c/20261122T124308Z-378d07",
    RESULTS / "amd-epyc-4c/20261122T151304Z-fdcf0e",
]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda p: p.name)
def test_a_committed_run_fits_any_terminal(folder: Path) -> None:
    """Nothing is wider than the terminal, no figure is cut or folded, and what is left out told."""
    run = read_run(folder)
    wide = rows_of(shown(run), [i.name for i in run.info.implementations if i.available])
    for width in (60, 80, 120, 140):
        text = shown(run, width)
        for line in text.splitlines():
            assert cell_len(line) <= width or " " not in line, line
        rows = rows_of(text, list(wide))
        columns = len(next(iter(rows.values())))
        assert rows == {name: words[:columns] for name, words in wide.items()}
        lacking = len(next(iter(wide.values()))) > columns
        assert ("no room for: " in text) == lacking
        assert not (lacking and width >= 80)


def test_the_quick_run_says_what_is_best() -> None:
    run = read_run(RESULTS / "amd-epyc-2c/20261201T034322Z-bf0bc6")
    text = shown(run)
    assert (
        "Fastest in cache: numba_cpu, 6.19 × max_shift; fastest beyond the cache: numba_cpu, "
        "63.5 GB/s; most accurate in float32: numba_exact, 0.5 ulp; most accurate in float64: "
        "numba_exact, 0.5 ulp; overflows: naive above t = 88.72."
    ) in text
    assert "naive: inf ulp" in text
    assert "log_sum_exp: 8150 ulp (float64, offset(offset=10000,scale=1)" in text
    assert "12 not available: " in text
    assert "369 failed as declared" in text


def test_the_best_is_bold_on_a_terminal_and_off_it_no_code_is_printed() -> None:
    run = run_of([ratio("fast", 3.0), ratio("slow", 1.0)])
    file = io.StringIO()
    summary(run, Console(width=WIDE, file=file, force_terminal=True, color_system="standard"))
    assert re.search(r"\x1b\[1m *\*3\x1b\[0m", file.getvalue())
    assert not re.search(r"\x1b\[1m *1\x1b\[0m", file.getvalue())
    assert "\x1b" not in shown(run)


def test_what_strangers_wrote_is_shown_and_steers_nothing() -> None:
    hostile = "\x1b[31mred\x1b[0m [bold]x[/bold] \r\n\u202e" + "long" * 40
    cells = [
        ratio(hostile, 3.0), ratio("slow", 1.0), error(hostile, 1e9, workload=hostile),
        error("dead", None, status="crashed", reason=hostile), threshold(hostile, 1.0),
    ]  # fmt: skip
    about = [report_run.implementation(n) for n in (hostile, "slow")]
    about.append(
        report_run.implementation(
            "gone", available=False, unavailable_reason=f"x; install {hostile}"
        )
    )
    given = {"profile": hostile, "baseline": hostile, "created": hostile, "finished": None,
             "warnings": [hostile], "problems": [hostile]}  # fmt: skip
    for width in (60, 80, 140):
        text = shown(run_of(cells, implementations=about, **given), width)
        assert not set("\x1b\r\u202e") & set(text)
        assert "[bold]x[/bold]" in " ".join(text.split())
        assert re.search(r"^slow +1\b", text, re.M)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.4999994, "0.5"), (65.838, "65.8"), (7721.79, "7720"), (12_345.0, "12300"),
        (8.3e6, "8.3e6"), (123_456.0, "1.23e5"), (1e-7, "1e-07"), (float("inf"), "inf"), (0.0, "0"),
    ],
)  # fmt: skip
def test_figures_have_three_digits(x: float, text: str) -> None:
    assert number(x) == text
