"""The one command for a GPU: its budget, what it lacks, and that it needs no more than it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import report_run
from simulated_device import SOURCE, Kernel, Simulation, WholeWorker

from harness.bounds.tolerances import Arithmetic
from harness.cli import gpu as command
from harness.cli.exits import Exit
from harness.experiments import budget
from harness.experiments.conformance.judge import Options
from harness.experiments.conformance.judge_process import (
    Judged,
    JudgeProcess,
    Waiting,
    unit,
)
from harness.experiments.context import Context, Unit
from harness.experiments.profiles import DeviceTiming
from harness.experiments.runner import plan
from harness.records import AccuracyRecord, ThroughputRecord
from harness.records.base import Status
from harness.records.device_throughput import DeviceThroughputRecord
from harness.records.reader import ResultsError, RunWriter, cell_key, read_run
from harness.registry.discovery import implementations, load
from harness.worker.client import Pool

ROOT = Path(__file__).parents[2]
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


def statuses(seconds: list[float], until: float) -> tuple[list[str], budget.BudgetPart]:
    clock = Clock()
    part = budget.BudgetPart("speed", until)
    limited = budget.within_budget(units(clock, seconds), part, clock)
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


def test_what_runs_ahead_for_a_skipped_unit_is_ended() -> None:
    """Processes that judge would go on beside the timings."""
    clock, ended = Clock(), []
    part = budget.BudgetPart("speed", 5.0)
    planned = [replace(u, abandon=partial(ended.append, u.label)) for u in units(clock, [4.0, 4.0])]
    for one in budget.within_budget(planned, part, clock):
        list(one.measure())
    assert ended == ["1"]


def test_what_a_unit_waits_for_ends_with_the_time_of_its_part() -> None:
    """A compiler for every shape may take minutes over one unit."""
    started, over = time.monotonic(), threading.Event()
    part = budget.BudgetPart("compiled", 0.5)
    records = tuple(RECORD.model_copy(update={"classes": n}) for n in (1, 2))

    def measure() -> Iterator[Any]:
        yield records[0].model_copy(update={"status": "ok"})
        assert over.wait(30)
        raise RuntimeError("its worker was killed")

    one = Unit("conformance", "one", records, measure, abandon=over.set)
    (limited,) = budget.within_budget([one], part, lambda: time.monotonic() - started)
    found = list(limited.measure())
    assert time.monotonic() - started < 20
    assert [(r.classes, r.status) for r in found] == [(1, "ok"), (2, "skipped")]
    assert "time budget" in (found[1].reason or "")
    assert part.skipped == 1


def test_a_defect_within_the_time_is_no_matter_of_time() -> None:
    def measure() -> Iterator[Any]:
        raise RuntimeError("a defect")
        yield

    one = Unit("accuracy", "one", (RECORD,), measure)
    (limited,) = budget.within_budget([one], budget.BudgetPart("accuracy", 60.0), lambda: 0.0)
    with pytest.raises(RuntimeError, match="a defect"):
        list(limited.measure())


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> Context:
    """The context of a run of everything that runs on a device, as if there was one."""
    monkeypatch.setattr("harness.registry.discovery.unavailable_reason", lambda metadata: None)
    monkeypatch.setattr("harness.machine.cuda_driver.cuda_memory", lambda: (80 << 30, 50 << 20))
    there = [i for i in implementations().values() if i.metadata.device == "cuda"]
    return Context(there, Pool(), budget.profile("quick"), 0, 16, baseline="torch_cuda")


def test_the_most_important_comes_first(on_a_device: Context) -> None:
    found = budget.planned(on_a_device)
    speed = [u.label for u in found["speed"]]
    assert speed[0] == "device streaming float32 1024 classes"
    assert speed[1] == "device streaming bfloat16 1024 classes"
    softmax = [label for label in speed if label.startswith("device streaming")]
    assert speed[: len(softmax)] == softmax
    assert softmax[-1].endswith(" 32 classes")
    for classes in (8192, 32_768, 262_144, 1_000_000):
        assert sum(label.endswith(f" {classes} classes") for label in softmax) == 2
    assert all("cross_entropy" in label for label in speed[len(softmax) :])
    assert not any("cross_entropy" in u.label for u in found["more speed"])
    compiled = {c.implementation for u in found["compiled"] for c in u.coordinates}
    assert compiled == set(budget.COMPILED_BY_SHAPE)
    for name in ("conformance", "accuracy"):
        who = {c.implementation for u in found[name] for c in u.coordinates}
        assert "cupy_gpu" in who
        assert not who & compiled


def test_no_cell_is_lost_by_the_order(on_a_device: Context) -> None:
    ordered = [cell_key(c) for us in budget.planned(on_a_device).values() for u in us
               for c in u.coordinates]  # fmt: skip
    plain = [cell_key(c) for u in plan(on_a_device) for c in u.coordinates]
    assert sorted(ordered) == sorted(plain)
    assert len(set(ordered)) == len(ordered)


def test_a_judging_process_that_is_abandoned_ends_at_once(tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        '"""Slow."""\nimport time\n\ndef softmax(x, axis=-1):\n    time.sleep(60)\n    return x\n',
        encoding="utf-8",
    )
    asked = unit(slow, "softmax", "float32", Arithmetic(), Options(timeout_s=100.0))
    running: Future[Judged] = Future()
    waiting: Future[Judged] = Future()
    tasks: Waiting = SimpleQueue()
    tasks.put([(asked, running), (asked, waiting)])
    process = JudgeProcess("a judge of this test", tasks)
    time.sleep(2.0)
    started = time.monotonic()
    process.abandon()
    assert time.monotonic() - started < 20
    assert running.exception(timeout=1) is not None
    assert waiting.cancelled()


def test_a_skipped_record_has_the_reason() -> None:
    clock = Clock()
    part = budget.BudgetPart("speed", -1.0)
    (unit,) = budget.within_budget(units(clock, [1.0]), part, clock)
    (record,) = unit.measure()
    assert record.status == "skipped"
    assert "time budget" in (record.reason or "")
    assert record.classes == 0


def test_the_parts_share_less_than_ten_minutes() -> None:
    found = list(budget.deadlines(budget.BUDGET_S).values())
    assert [p.until_s for p in found] == sorted(p.until_s for p in found)
    assert found[-1].until_s < budget.BUDGET_S < 600


def test_the_page_gives_the_deadlines_that_are_in_force() -> None:
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| ([\w ]+) \| (\d+) s \|", page, re.M))
    found = budget.deadlines(budget.BUDGET_S).values()
    assert told == {p.name: f"{p.until_s:.0f}" for p in found}


def test_what_is_missing_is_said_in_one_line_with_the_remedy() -> None:
    line = command.missing_line(["pydantic", "ml_dtypes"])
    assert "\n" not in line
    assert "pydantic, ml_dtypes" in line
    assert "docs/gpu.md" in line


@pytest.mark.parametrize(
    ("name", "absent", "extra"),
    [
        ("triton_gpu", ("triton",), "triton"),
        ("torch_compile_cuda", ("triton",), "triton"),
        ("torch_cuda", ("torch",), "torch"),
        ("cupy_gpu", ("cupy",), "cuda"),
        ("jax_cuda", ("jax_cuda13_plugin", "jax_cuda12_plugin"), "jax-cuda"),
    ],
)
def test_an_implementation_names_the_extra_that_it_lacks(
    monkeypatch: pytest.MonkeyPatch, name: str, absent: tuple[str, ...], extra: str
) -> None:
    monkeypatch.setattr("harness.machine.cuda_driver.cuda_device_count", lambda: (1, ""))
    monkeypatch.setattr(
        "harness.registry.discovery.find_module", lambda p: None if p in absent else p
    )
    reason = implementations()[name].unavailable_reason or ""
    assert all(repr(package) in reason for package in absent)
    assert f"softmax-bench[{extra}]" in reason
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert extra in declared["project"]["optional-dependencies"]


@pytest.mark.parametrize("name", ["cupy_gpu", "jax_cuda", "torch_cuda", "triton_gpu"])
def test_without_a_device_nobody_is_told_to_install_a_library(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("harness.machine.cuda_driver.cuda_device_count", lambda: (0, "none here"))
    monkeypatch.setattr("harness.registry.discovery.find_module", lambda package: None)
    assert implementations()[name].unavailable_reason == "no CUDA device: none here"


def test_one_of_two_plugins_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.cuda_driver.cuda_device_count", lambda: (1, ""))
    absent = "jax_cuda13_plugin"
    monkeypatch.setattr(
        "harness.registry.discovery.find_module", lambda p: None if p == absent else p
    )
    assert "plugin" not in (implementations()["jax_cuda"].unavailable_reason or "")


def test_packages_that_are_absent_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.absent(command.REQUIRED) == []
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert command.absent(command.REQUIRED) == ["pydantic"]


def test_whatever_it_names_comes_with_the_project() -> None:
    """The page on machines without a network installs the project, and says no more names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", r)[0] for r in project["dependencies"]}
    named = {*command.REQUIRED.values(), *command.REPORT.values(), *command.FASTER.values()}
    assert named <= declared


def test_missing_packages_end_it_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "REQUIRED", {"no_such_module_at_all": "no-such"})
    assert command.main([]) == Exit.USAGE
    assert "missing: no-such" in capsys.readouterr().err


def test_without_a_device_it_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "harness.machine.cuda_driver.cuda_device_count", lambda: (0, "none for this test")
    )
    assert command.main([]) == Exit.NOTHING
    assert "not run on a GPU: none for this test" in capsys.readouterr().err


def test_a_machine_without_a_name_fit_for_a_folder_is_refused_before_the_tests(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--machine", "a/b c:é"]) == Exit.USAGE
    assert "machine name: expected 1 to 80 letters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statuses", "code"), [(("error", "skipped"), Exit.NOTHING), (("error", "ok"), 0)]
)
def test_a_run_without_a_figure_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    statuses: tuple[Status, ...],
    code: int,
) -> None:
    with RunWriter(tmp_path / "run", report_run.info()) as writer:
        for i, status in enumerate(statuses):
            cell = AccuracyRecord(implementation="cupy_ours", classes=i + 2, status=status)
            writer.append(cell.model_copy(update={"reason": f"reason {i}"}))
        limit = ThroughputRecord(implementation="copy", role="limit", status="ok")
        writer.append(limit)
        writer.finish()
    monkeypatch.setattr("harness.machine.cuda_driver.cuda_device_count", lambda: (1, ""))
    monkeypatch.setattr(command, "measure", lambda *_: read_run(tmp_path / "run"))
    monkeypatch.setattr(command, "REPORT", {"no_such_module_at_all": "no-such"})
    assert command.main(["--tests", str(tmp_path)]) == code
    told = "nothing was measured (cupy_ours: error, reason 0)" in capsys.readouterr().err
    assert told is (code != 0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ResultsError("cannot be written"), Exit.USAGE),
        (OSError("cannot be written"), Exit.USAGE),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
    ids=["results", "system", "interrupt"],
)
def test_what_ends_the_run_of_a_device_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    def measure(*_: Any) -> Path:
        raise error

    monkeypatch.setattr("harness.machine.cuda_driver.cuda_device_count", lambda: (1, ""))
    monkeypatch.setattr(command, "measure", measure)
    assert command.main(["--tests", str(tmp_path)]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_tests_that_fail_and_tests_that_are_not_there(tmp_path: Path) -> None:
    part = budget.BudgetPart("tests", 60.0)
    command.run_tests(part, tmp_path)
    assert part.status == "skipped"
    assert "no tests" in (part.reason or "")
    hangs = "import time\n\ndef test_it():\n    time.sleep(30)\n"
    (tmp_path / command.TESTS[0]).parent.mkdir()
    (tmp_path / command.TESTS[0]).write_text(hangs, encoding="utf-8")
    part = budget.BudgetPart("tests", 4.0)
    command.run_tests(part, tmp_path)
    assert part.status == "skipped"
    assert "not over in 4 s" in (part.reason or "")
    assert part.output is not None
    (tmp_path / command.TESTS[0]).write_text("def test_it():\n    assert False\n", encoding="utf-8")
    part = budget.BudgetPart("tests", 60.0)
    command.run_tests(part, tmp_path)
    assert part.status == "failed"
    assert "1 failed" in (part.output or "")
    shown = command._outcome(part).splitlines()
    assert "1 failed" in shown[-2]
    assert shown[-1].startswith("tests: failed")
    assert len(shown) <= 41


def test_the_run_of_a_device_keeps_a_record_of_every_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an implementation of the CPU in place of one on a device, and a budget for little."""
    options = command._parser().parse_args(["--results", str(tmp_path), "--machine", "none"])
    subject = load("max_shift")
    monkeypatch.setattr(
        "harness.registry.discovery.implementations", lambda: {"max_shift": subject}
    )
    cpu_too = replace(subject.metadata, device="cuda")
    monkeypatch.setattr(subject, "metadata", cpu_too)
    monkeypatch.setattr("harness.registry.discovery.unavailable_reason", lambda metadata: None)
    run = command.measure(options, budget.deadlines(0.0), time.monotonic())
    assert run.info.finished is not None
    assert {r.status for r in run.records} == {"skipped"}
    assert len(run.records) == run.info.planned_cells
    assert {r.experiment for r in run.records} == {"conformance", "accuracy", "device_throughput"}


def test_the_whole_command_on_a_simulated_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line to the report; the device and its array library are simulated."""
    simulation = Simulation(total=1 << 40)
    names = ("cupy_ours", "torch_cuda", "torch_compile_cuda")
    kernels = {n: Kernel(simulation, 50.0 + 10 * i) for i, n in enumerate(names)}
    found = {}
    for name in names:
        path = tmp_path / f"{name}.py"
        path.write_text(SOURCE.format(name=name), encoding="utf-8")
        found[name] = load(path)

    def worker(name: str, *_: Any) -> Any:
        return WholeWorker(name, simulation, kernels.get(name.removesuffix(" (control)")))

    def worker_for(one: Any, name: str | None = None) -> Any:
        return worker(name or one.name)

    monkeypatch.setattr("harness.worker.timing.device_timer._clock", simulation.clock)
    monkeypatch.setattr("harness.machine.cuda_driver.cuda_device_count", lambda: (1, ""))
    monkeypatch.setattr("harness.machine.cuda_driver.cuda_memory", lambda: (1 << 40, simulation.l2))
    monkeypatch.setattr("harness.registry.discovery.implementations", lambda: found)
    monkeypatch.setattr("harness.registry.discovery.unavailable_reason", lambda metadata: None)
    monkeypatch.setattr("harness.experiments.context.RemoteImplementation", worker)
    monkeypatch.setattr("harness.experiments.context.worker_for", worker_for)
    monkeypatch.setattr("harness.experiments.runner.worker_for", worker_for)
    timing = DeviceTiming((64,), 1 << 18, min_sample_ns=2_000, warm_up_ns=0, warm_up_cap_ns=10_000)
    row = replace(timing, moved_bytes=0)
    small = replace(
        budget.profile("smoke"),
        dtypes=("float32",),
        operations=("softmax", "cross_entropy"),
        families=(),
        device_timing={
            "streaming": replace(timing, other_classes=(64,)), "launches": row, "graph": row,
        },
    )  # fmt: skip
    monkeypatch.setattr(command, "profile", lambda name: small)
    arguments = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    more = ["--machine", "simulated", "--budget", "570", "--tests", str(tmp_path)]
    assert command.main([*arguments, *more]) == 0
    told = capsys.readouterr().out
    (folder,) = (tmp_path / "results" / "simulated").iterdir()
    run = read_run(folder)
    assert run.info.finished is not None
    assert len(run.records) == run.info.planned_cells
    timed: list[Any] = [r for r in run.records if r.experiment == "device_throughput"]
    assert {r.operation for r in timed} == {
        *("softmax", "cross_entropy", "cross_entropy_loss", "copy", "read"),
    }  # fmt: skip
    assert {r.status for r in timed} == {"ok"}, [r.reason for r in timed if r.status != "ok"]
    assert all(r.speedup is not None for r in timed if r.role != "limit")
    assert {r.baseline for r in timed if r.role == "implementation"} == {"torch_cuda"}
    judged = [r for r in run.records if r.experiment == "conformance"]
    assert len({r.status for r in judged}) > 1
    labels = [line for line in told.splitlines() if "conformance" in line]
    assert any("torch_compile_cuda" in line for line in labels[-4:])  # it compiles by shape: last
    assert json.loads((folder / command.PARTS_FILE).read_text())[0]["name"] == "tests"
    site = tmp_path / "reports" / "simulated" / folder.name
    assert (site / "figures" / "device-streaming-float32.svg").exists()
    assert "cross_entropy_loss" in (site / "device_throughput.html").read_text(encoding="utf-8")


HIDDEN = ("flint", "typer", "rich", "jinja2", "matplotlib", "sklearn", "pyarrow")
WITHOUT = f"""
import sys
for name in {HIDDEN!r}:
    sys.modules[name] = None
import numpy as np
from harness import reference
from harness.cli import gpu as command
from harness.cli.exits import Exit
from harness.reference.engines import default_engine
assert default_engine().name == "mpmath", default_engine().name
y = reference.softmax(np.array([[1.0, 2.0, 4.0]], np.float32))
assert abs(float(y.sum()) - 1) < 1e-6
import harness.experiments.runner, harness.experiments.throughput.device
assert command.absent(command.REQUIRED) == []
code = command.main([])
assert code in (command.Exit.NOTHING, 0), code
"""


def test_it_needs_neither_flint_nor_what_draws_and_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120,
        env={"PATH": "", "CUDA_VISIBLE_DEVICES": "", "HOME": "/nonexistent"}, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_whole_command_needs_none_of_them_either(tmp_path: Path) -> None:
    """That test once more, in a process without them; the report alone needs what draws it."""
    absent = [n for n in HIDDEN if n not in ("jinja2", "matplotlib")]
    plugin = f"import sys\nfor name in {absent!r}:\n    sys.modules[name] = None\n"
    (tmp_path / "hidden_modules.py").write_text(plugin, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "hidden_modules",
        "-p",
        "no:cacheprovider",
    ]
    name = "test_the_whole_command_on_a_simulated_device"
    done = subprocess.run(
        [*command, f"{__file__}::{name}"], capture_output=True, text=True, timeout=300, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
