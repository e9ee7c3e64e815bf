"""The one command for a GPU: its budget, what it lacks, and that it needs no more than it says."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import gpu
from harness.experiments.context import Unit
from harness.records.device_throughput import DeviceThroughputRecord
from harness.results import read_run

ROOT = Path(__file__).parent.parent
RECORD = DeviceThroughputRecord(implementation="ours", device="cuda", status="skipped")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def units(clock: Clock, seconds: list[float]) -> list[Unit]:
    def unit(number: int, took: float) -> Unit:
        record = RECORD.model_copy(update={"classes": number})

        def measure() -> Iterator[Any]:
            clock.now += took
            yield record.model_copy(update={"status": "ok"})

        return Unit("device_throughput", f"{number}", (record,), measure)

    return [unit(i, s) for i, s in enumerate(seconds)]


def statuses(seconds: list[float], until: float) -> tuple[list[str], gpu.Part]:
    clock = Clock()
    part = gpu.Part("device_throughput", until)
    limited = gpu.within_budget(units(clock, seconds), {part.name: part}, clock)
    return [r.status for u in limited for r in u.measure()], part


@pytest.mark.parametrize(
    ("seconds", "until", "expected"),
    [
        ([1, 1, 1], 10, ["ok", "ok", "ok"]),
        ([6, 1, 1], 10, ["ok", "skipped", "skipped"]),  # the next may take as long
        ([4, 4, 4], 10, ["ok", "ok", "skipped"]),
        ([1], -1, ["skipped"]),
    ],
)
def test_what_does_not_fit_is_skipped(
    seconds: list[float], until: float, expected: list[str]
) -> None:
    found, part = statuses(seconds, until)
    assert found == expected
    assert part.skipped == expected.count("skipped")
    assert part.units == len(expected)
    assert (part.status == "skipped") == ("skipped" in expected)


def test_a_skipped_record_has_the_reason() -> None:
    clock = Clock()
    part = gpu.Part("device_throughput", -1.0)
    (unit,) = gpu.within_budget(units(clock, [1.0]), {part.name: part}, clock)
    (record,) = unit.measure()
    assert record.status == "skipped"
    assert "time budget" in (record.reason or "")
    assert record.classes == 0


def test_the_parts_share_less_than_ten_minutes() -> None:
    parts = list(gpu.deadlines(gpu.BUDGET_S).values())
    assert [p.until_s for p in parts] == sorted(p.until_s for p in parts)
    assert parts[-1].until_s < gpu.BUDGET_S < 600


def test_what_is_missing_is_said_in_one_line_with_the_remedy() -> None:
    line = gpu.missing_line(["pydantic", "ml_dtypes"])
    assert "\n" not in line
    assert "pydantic, ml_dtypes" in line
    assert "pip download" in line
    assert "--no-index --find-links wheels pydantic ml_dtypes" in line


def test_packages_that_are_absent_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.absent(gpu.REQUIRED) == []
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert gpu.absent(gpu.REQUIRED) == ["pydantic"]


def test_missing_packages_end_it_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "REQUIRED", {"no_such_module_at_all": "no-such"})
    assert gpu.main([]) == gpu.USAGE
    assert "missing: no-such" in capsys.readouterr().err


def test_without_a_device_it_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.devices.cuda_device_count", lambda: (0, "none for this test"))
    assert gpu.main([]) == gpu.NOTHING
    assert "not run on a GPU: none for this test" in capsys.readouterr().err


def test_tests_that_fail_and_tests_that_are_not_there(tmp_path: Path) -> None:
    part = gpu.Part("tests", 60.0)
    gpu.run_tests(part, tmp_path)
    assert part.status == "skipped"
    assert "no tests" in (part.reason or "")
    (tmp_path / gpu.TESTS[0]).write_text("def test_it():\n    assert False\n", encoding="utf-8")
    part = gpu.Part("tests", 60.0)
    gpu.run_tests(part, tmp_path)
    assert part.status == "failed"
    assert "1 failed" in (part.output or "")


def test_the_run_of_a_device_keeps_a_record_of_every_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an implementation of the CPU in place of one on a device, and a budget for little."""
    from harness.discovery import load

    options = gpu._parser().parse_args(["--results", str(tmp_path), "--machine", "none"])
    subject = load("max_shift")
    monkeypatch.setattr("harness.discovery.implementations", lambda: {"max_shift": subject})
    cpu_too = replace(subject.metadata, device="cuda")
    monkeypatch.setattr(subject, "metadata", cpu_too)
    monkeypatch.setattr("harness.discovery.unavailable_reason", lambda metadata: None)
    parts = gpu.deadlines(0.0)
    import time

    folder = gpu.measure(options, parts, time.monotonic())
    run = read_run(folder)
    assert run.info.finished is not None
    assert {r.status for r in run.records} == {"skipped"}
    assert len(run.records) == run.info.planned_cells
    assert {r.experiment for r in run.records} == {"conformance", "accuracy", "device_throughput"}


HIDDEN = ("flint", "typer", "rich", "jinja2", "matplotlib", "cpuinfo", "sklearn", "pyarrow")
WITHOUT = f"""
import sys
for name in {HIDDEN!r}:
    sys.modules[name] = None
import numpy as np
from harness import gpu, reference
from harness.reference.engines import default_engine
assert default_engine().name == "mpmath", default_engine().name
y = reference.softmax(np.array([[1.0, 2.0, 4.0]], np.float32))
assert abs(float(y.sum()) - 1) < 1e-6
import harness.runner, harness.experiments.device_throughput
assert gpu.absent(gpu.REQUIRED) == []
code = gpu.main([])
assert code in (gpu.NOTHING, 0), code
"""


def test_it_needs_neither_flint_nor_what_draws_and_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120,
        env={"PATH": "", "CUDA_VISIBLE_DEVICES": "", "HOME": "/nonexistent"}, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheels_it_asks_for_install_without_a_network(tmp_path: Path) -> None:
    """The remedy of `missing_line`, followed to the letter: a folder, then a bare environment."""
    wheels = tmp_path / "wheels"
    names = [*gpu.REQUIRED.values(), *gpu.REPORT.values(), *gpu.FASTER.values()]
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d"]
    subprocess.run([*fetch, str(wheels), *names], check=True, timeout=600)
    home = tmp_path / "bare"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    before = subprocess.run(
        [python, "-m", "harness.gpu"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert before.returncode == gpu.USAGE
    assert len(before.stderr.splitlines()) == 1
    install = [python, "-m", "pip", "install", "-q", "--no-index", "--find-links", str(wheels)]
    subprocess.run([*install, *names], check=True, timeout=600)
    after = subprocess.run(
        [python, "-m", "harness.gpu"], capture_output=True, text=True, cwd=ROOT, check=False,
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""},
    )  # fmt: skip
    assert after.returncode == gpu.NOTHING, after.stderr
    assert "not run on a GPU" in after.stderr
