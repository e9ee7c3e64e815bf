"""What a check tells of its records: each reason once, the worst first, no ratio in doubt."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from harness.cli.verdict import show
from harness.experiments.conformance.catalogue import AREAS, CASES, area_of
from harness.experiments.verdict import Verdict, reached
from harness.records import AccuracyRecord, ConformanceRecord, ThroughputRecord
from harness.registry.discovery import load

ONE = load("max_shift").metadata


def cell(case: str, verdict: str, **more: Any) -> ConformanceRecord:
    """A record of a case; a failure unless something else is said."""
    fields = {
        "implementation": ONE.name, "dtype": "float32", "case": case, "title": "what is due",
        "number": 1, "outcome": "wrong", "message": f"out is wrong [{case}]", "got": "0x1.0p+0",
        "status": "failed" if verdict == "failure" else "ok", "verdict": verdict,
    }  # fmt: skip
    return ConformanceRecord(**fields | more)


def timing(name: str, samples: list[float], **more: Any) -> ThroughputRecord:
    fields = {
        "implementation": name, "dtype": "float32", "status": "ok", "regime": "cached",
        "classes": 1000, "rows": 131, "threads": 2, "samples_ns": samples, "allocating": True,
        "median_ns": sorted(samples)[len(samples) // 2], "gbps": 1.0, "ranked": True,
    }  # fmt: skip
    return ThroughputRecord(**fields | more)


def screen(found: Any, width: int = 80, **more: Any) -> str:
    stream = io.StringIO()
    show(found, Console(file=stream, width=width, color_system=None), **more)
    return stream.getvalue()


def test_every_case_has_an_area() -> None:
    assert {area_of(c.id, o) for c in CASES for o in c.operations} == set(AREAS) - {"speed"}


def test_a_reason_is_told_once_with_its_count() -> None:
    same = [cell("8-nan", "failure", dtype=d) for d in ("float64", "float32")]
    found = reached(ONE, [*same, cell("40-default-axis", "failure")])
    assert [(p.count, p.where) for a in found.areas for p in a.failures] == [
        (2, "softmax in float64, float32"),
        (1, "softmax in float32"),
    ]
    assert len(found.failures) == 3
    assert found.reason.endswith("(2 times)")


def test_what_shows_in_many_areas_is_told_under_the_first() -> None:
    ids = ("8-nan", "35-transposed", "51-input-unchanged")
    found = reached(ONE, [cell(i, "failure", got=None, message="it shares memory") for i in ids])
    told = {a.name: a.told for a in found.areas if a.state == "FAIL"}
    assert told.pop("special values").startswith("it shares memory")
    assert told == dict.fromkeys(("layouts", "state"), "as under special values")


def test_what_is_wrong_on_ordinary_input_is_the_reason() -> None:
    exotic = [cell(c.id, "failure", outcome="wrong") for c in CASES[:20]]
    ordinary = AccuracyRecord(
        implementation=ONE.name, dtype="float32", classes=10, rows=3, status="failed",
        workload="normal(scale=1)", max_ulp=7.0, error_over_bound=3.5, outcome="inaccurate",
    )  # fmt: skip
    reason = reached(ONE, [*exotic, ordinary]).reason
    assert reason.startswith("errors of up to 7 ulp, 3.5 times the bound")


def test_a_crash_comes_before_a_wrong_value() -> None:
    wrong = [cell(k, "failure") for k in ("8-nan", "10-one-class")]
    crash = cell("16-subnormal", "failure", status="crashed", reason="ended by SIGSEGV")
    assert reached(ONE, [*wrong, crash]).reason.startswith("ended by SIGSEGV")


def test_findings_fail_a_strict_check_only() -> None:
    records = [cell("58-order", "finding"), cell("8-nan", "pass")]
    lenient, strict = reached(ONE, records), reached(ONE, records, strict=True)
    assert (lenient.verdict, strict.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert "1 finding: 58-order" in screen(lenient)
    assert strict.reason.startswith("out is wrong")


def test_the_first_lines_say_what_was_not_judged() -> None:
    blank = [cell("8-nan", "pass", dtype="float64")]
    lines = screen(reached(ONE, blank, dtypes=("float64",)), width=200).splitlines()
    assert lines[1] == "judged: softmax in float64"
    assert "float32" in lines[2]
    assert "--dtype" in lines[2]


def test_cases_that_were_skipped_are_named_with_the_verdict() -> None:
    skipped = cell("39-out", "skipped", status="skipped", reason="takes no out=")
    found = reached(ONE, [cell("8-nan", "pass"), skipped])
    assert "39-out" in screen(found, width=200).splitlines()[2]
    assert "39-out: takes no out=" in screen(found, verbose=True)


def test_nothing_judged_is_no_pass() -> None:
    found = reached(ONE, [cell("8-nan", "skipped", status="unavailable", reason="no device")])
    assert (found.verdict, found.reason) == (Verdict.NOTHING, "no device")


def test_the_verdict_is_on_one_screen() -> None:
    records = [cell(c.id, "failure", message=50 * "long ") for c in CASES]
    text = screen(reached(ONE, records))
    assert text.startswith(f"FAIL  {ONE.name}: ")
    assert len(text.splitlines()) <= 50
    assert all(area in text for area in AREAS if area != "speed")
    assert text.count("8-nan:") <= 2
    assert "--verbose" in text
    everything = screen(reached(ONE, records), verbose=True)
    assert all(c.id in everything for c in CASES)


SAMPLES = [1000.0, 1010.0, 990.0, 1000.0, 1005.0, 995.0, 1000.0, 1002.0]


def speeds(known: float, undecided: str | None = None) -> Any:
    """The speeds of a subject twice as fast as its rival, which is the baseline, and known so."""
    mine = timing(
        ONE.name, SAMPLES, baseline="torch", speedup=2.0, speedup_low=2.0 / known,
        speedup_high=2.0 * known, undecided=undecided,
    )  # fmt: skip
    rival = timing(
        "torch", SAMPLES, baseline="torch", speedup=1.0, speedup_low=1.0, speedup_high=1.0
    )
    (speed,) = reached(ONE, [cell("8-nan", "pass")], [mine, rival]).speeds
    return speed


def test_a_ratio_has_its_interval() -> None:
    (ratio,) = speeds(1.1).ratios
    assert ratio.rival == "torch"
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0 / 1.1, 2.0, 2.0 * 1.1))


def test_a_ratio_that_is_open_to_a_factor_of_two_is_not_told() -> None:
    found = speeds(1.5, "known to ±50% after 9 pairs: other programs used 1.2 processors")
    assert (found.time_ns, found.gbps, found.ratios) == (None, None, ())
    assert found.reason.startswith("not measurable now: known to ±50%")
    assert "other programs used 1.2 processors" in found.reason


def test_a_wrong_result_has_no_ratio() -> None:
    mine = timing(ONE.name, SAMPLES, ranked=False, status="failed", reason="off by 1e-3")
    found = reached(ONE, [cell("8-nan", "pass")], [mine, timing("torch", SAMPLES)])
    assert found.verdict is Verdict.FAIL
    assert found.speeds[0].ratios == ()
    assert "off by 1e-3" in (found.speeds[0].reason or "")
