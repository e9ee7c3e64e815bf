"""The command in a subprocess: what a user types, sees and gets as exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from harness.cli import app as app_module
from harness.cli.exits import one_line_errors
from harness.cli.session import select
from harness.experiments.profiles import SMOKE
from harness.records.reader import cell_key, read_run
from harness.registry.discovery import implementations

ROOT = Path(__file__).parents[2]
LEFT_OUT = {
    "torch_compile", "numba_loop", "numba_exact", "two_pass", "log_sum_exp",
    "log_sum_exp_difference", "cupy_gpu_fast",  # whose device code is that of cupy_gpu
}  # fmt: skip
"""Of the smoke run: each would add seconds, and is asked by the tests of implementations."""


def become(statement: str) -> list[str]:
    """The start of a command line: Python runs the statement, then becomes the command.

    No `preexec_fn`: it forks, and JAX, where an earlier test imported it, warns of any fork.
    """
    command = "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    code = f"import os, resource, signal, sys; {statement}; {command}"
    return [sys.executable, "-c", code, "-m"]


def softmax_bench(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def in_this_process(*arguments: str, cwd: Path) -> Result:
    """The same without a start of Python."""
    line = mock.patch.object(sys, "argv", ["softmax-bench", *arguments])
    with contextlib.chdir(cwd), line:
        return CliRunner().invoke(app_module.app, list(arguments))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One real smoke run with its report: the folder it ran in, and what it printed."""
    cwd = tmp_path_factory.mktemp("smoke")
    chosen = [f"--implementation={name}" for name in implementations() if name not in LEFT_OUT]
    given = ("run", "--profile", "smoke", "--machine", "box", *chosen)
    spinning = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}  # as users have it
    done = softmax_bench(*given, cwd=cwd, env=spinning)
    assert done.returncode == 0, done.stderr
    return cwd, done.stdout


def test_smoke_run_is_complete(smoke: tuple[Path, str]) -> None:
    cwd, printed = smoke
    (folder,) = (cwd / "results" / "box").iterdir()
    run = read_run(folder)
    assert run.info.finished is not None
    assert run.problems == []
    assert len(run.records) == run.info.planned_cells
    assert {r.experiment for r in run.records} == set(SMOKE.experiments)
    unexpected = [
        (r.implementation, r.reason)
        for r in run.records
        if r.status in ("error", "crashed", "timeout", "out_of_memory")
    ]
    assert unexpected == []
    assert f"results: {folder.relative_to(cwd)}" in printed
    assert f"table: softmax-bench show {folder.relative_to(cwd)}" in printed


def test_smoke_run_ends_with_the_report(smoke: tuple[Path, str]) -> None:
    cwd, printed = smoke
    last = printed.strip().splitlines()[-1]
    assert last.startswith("report: ")
    index = cwd / last.removeprefix("report: ")
    assert "max_shift" in index.read_text(encoding="utf-8")


def test_summary_shows_the_overflow_threshold(smoke: tuple[Path, str]) -> None:
    assert "88.722831" in smoke[1]


def test_only_declared_failures(smoke: tuple[Path, str]) -> None:
    (folder,) = (smoke[0] / "results" / "box").iterdir()
    failed = {
        r.implementation
        for r in read_run(folder).records
        if r.status == "failed" and r.experiment != "throughput"
    }
    assert failed == {"naive"}


def test_captured_logits_are_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "mine.npy", rng.normal(size=(3, 50)).astype(np.float32))
    done = in_this_process(
        "run", "--profile", "smoke", "--logits", "mine.npy", "-i", "max_shift", "--experiment",
        "accuracy", "--dtype", "float32", "--no-report", "--machine", "box",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (folder,) = (tmp_path / "results" / "box").iterdir()
    records = [r for r in read_run(folder).records if str(r.workload).startswith("file(")]
    assert [(r.classes, r.rows, r.status) for r in records] == [(50, 3, "ok")]
    assert str(tmp_path) not in str(records[0].workload)


def test_every_array_of_every_file_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.run._LARGE", 4 * 3 * 50 - 1)
    x = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", a=x, b=x[:, :7], labels=np.arange(3))
    np.save(tmp_path / "other.npy", x[:2, :5])
    grid = "--profile smoke --experiment accuracy --dtype float32 --workload constant --classes 2"
    done = in_this_process(
        "run", *grid.split(), "-i", "max_shift", "--logits", "mine.npz", "--logits", "other.npy",
        "--logits", "mine.npz::b", "--no-report", "--machine", "box", cwd=tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "not judged: mine.npz: expected dtype" in done.stderr
    assert "mine.npz::a: 0.0 GB are read once" in done.stderr
    assert "other.npy: " not in done.stderr
    (folder,) = (tmp_path / "results" / "box").iterdir()
    found = {
        str(r.workload).partition(",")[0]: (r.rows, r.classes, r.status)
        for r in read_run(folder).records
        if str(r.workload).startswith("file(")
    }
    assert found == {
        "file(name=mine.npz::a": (3, 50, "ok"),
        "file(name=mine.npz::b": (3, 7, "ok"),
        "file(name=other.npy": (2, 5, "ok"),
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "-i", "sofmax"], 2, "no implementation named 'sofmax'; known are"),
        (["run", "-i", "absent.py"], 2, "absent.py: no such file"),
        (["run", "-i", "cupy_gpu", "-i", "cupy_gpu"], 3, "none of the implementations selected"),
        (["run", "--dtype", "float12"], 2, "expected one of float64"),
        (["run", "--classes", "-3"], 2, "class count: expected a positive integer"),
        (["run", "--workload", "normal(scale=x)"], 2, "scale"),
        (["run", "--experiment", "astrology"], 2, "expected one of conformance"),
        (["run", "--operation", "hardmax"], 2, "expected one of softmax"),
        (["run", "--logits", "absent.npy"], 2, "absent.npy"),
        (["run", "--logits", "a.npy", "--experiment", "overflow"], 2, "experiment accuracy alone"),
        (["run", "--resume", "absent"], 2, "absent: not a run"),
        (["show", "absent"], 2, "absent: no such file or folder"),
        (["show", "."], 2, "holds no run"),
        (["show"], 2, "results: no such file or folder"),
        (["report", "absent"], 2, "absent: no such file or folder"),
        (["report", "."], 2, "holds no run"),
        (["list", "stars"], 2, "expected one of implementations"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = in_this_process(*arguments, cwd=tmp_path)
    assert done.exit_code == code, done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in the way", encoding="utf-8")
    done = in_this_process("run", "--profile", "smoke", "-i", "max_shift", cwd=tmp_path)
    assert done.exit_code == 2
    assert "choose another place with --results" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["implementations", "workloads", "classes", "profiles", "bounds"])
def test_list(tmp_path: Path, what: str) -> None:
    done = in_this_process("list", what, cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 4
    assert max(map(len, lines)) <= 80


def test_list_is_a_line_an_implementation_and_a_paragraph_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    printed = "\n".join(lines_of("list", cwd=tmp_path))
    _, head, *lines = re.sub(r"\x1b\[[\d;]*m", "", printed).splitlines()
    assert head.split() == ["name", "device", "description"]
    here = [name for name, one in implementations().items() if one.available]
    assert [line.split()[:2] for line in lines[: len(here)]] == [[n, "cpu"] for n in here]
    assert max(map(len, lines)) == 80
    absent = " ".join(lines[len(here) :])
    assert absent.startswith(f"{len(implementations()) - len(here)} not available: ")
    assert [n for n in implementations() if n not in here and n not in absent] == []


def test_help_and_list_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom harness.cli.app import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'numba', 'cupy', 'scipy', 'pandas', 'matplotlib') "
        "if m in sys.modules], file=sys.stderr)"
    )
    for arguments in (["--help"], ["list"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.strip() == "[]", arguments


def test_version(tmp_path: Path) -> None:
    assert softmax_bench("--version", cwd=tmp_path).stdout.startswith("softmax-bench ")


def test_interrupt_keeps_what_was_measured_and_resumes(tmp_path: Path) -> None:
    command = [
        # A runner of tests in the background may have it ignored, which children inherit.
        *become("signal.signal(signal.SIGINT, signal.SIG_DFL)"),
        "harness", "run", "--profile", "quick", "-i", "max_shift",
        "--experiment", "accuracy", "--dtype", "float32", "--machine", "box", "--no-report",
        "--classes", "10", "--classes", "100",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    cells: list[Path] = []
    while time.monotonic() < deadline and process.poll() is None:
        cells = list(tmp_path.glob("results/box/*/cells.jsonl"))
        if cells and cells[0].stat().st_size:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    folder = cells[0].parent
    before = read_run(folder)
    assert before.info.finished is None
    assert before.records
    done = softmax_bench("run", "--resume", str(folder), "--no-report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = read_run(folder)
    assert after.info.finished is not None
    assert len(after.records) == after.info.planned_cells
    again = in_this_process("run", "--resume", str(folder), "--no-report", cwd=tmp_path)
    assert again.exit_code == 2
    assert "finished" in again.stderr


INTERRUPTED_IN_EVAL = """
import sys
from harness.cli import app as cli

def interrupt():
    raise KeyboardInterrupt

def app():
    try:
        eval("interrupt()")
    except KeyboardInterrupt:
        sys.exit(130)

cli.app = app
cli.main()
"""


def test_an_interrupt_within_eval_has_the_exit_code_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "interrupted_in_eval.py").write_text(INTERRUPTED_IN_EVAL, encoding="utf-8")
    command = [sys.executable, "-m", "interrupted_in_eval"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 130


def cut_short(folder: Path) -> None:
    """Make a finished run one that was interrupted half way."""
    description = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    description["finished"] = None
    (folder / "run.json").write_text(json.dumps(description), encoding="utf-8")
    cells = (folder / "cells.jsonl").read_text(encoding="utf-8")
    (folder / "cells.jsonl").write_text(cells[: len(cells) // 2], encoding="utf-8")


def small_run(cwd: Path, *options: str) -> Path:
    """The folder of a run of a few cells."""
    grid = "--profile smoke --experiment accuracy --dtype float32 --classes 3 --classes 7"
    grid += " --workload normal --no-report --machine box"
    done = in_this_process("run", *grid.split(), *options, cwd=cwd)
    assert done.exit_code == 0, done.stderr
    (folder,) = (cwd / "results" / "box").iterdir()
    return folder


@pytest.mark.parametrize(
    "spelling",
    [
        "-imine.py --logits captured.npz",
        "--implementation=../here/mine.py --logits=captured.npz::mine",
        "-i max_shift.py",  # a file with the name of an implementation that is built in
    ],
)
def test_a_run_is_resumed_from_any_folder_however_its_files_were_spelt(
    tmp_path: Path, spelling: str
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    for name in ("mine.py", "max_shift.py"):
        (here / name).write_text("def softmax(x, axis=-1): return x", encoding="utf-8")
    np.savez(here / "captured.npz", mine=np.ones((3, 7), np.float32))
    folder = small_run(here, *spelling.format(absolute=here / "mine.py").split())
    before = read_run(folder)
    cut_short(folder)
    resume = os.path.relpath(folder, elsewhere)
    done = in_this_process("run", "--resume", resume, "--no-report", cwd=elsewhere)
    assert done.exit_code == 0, done.stderr
    after = read_run(folder)
    assert after.info.finished is not None
    assert len(after.records) == after.info.planned_cells
    assert {(cell_key(r), r.status) for r in after.records} == {
        (cell_key(r), r.status) for r in before.records
    }


def test_a_run_is_resumed_where_its_results_were_moved_to(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def softmax(x, axis=-1): return x", encoding="utf-8")
    folder = small_run(tmp_path, "-i", "mine.py")
    cut_short(folder)
    moved = folder.rename(tmp_path / "moved")
    done = in_this_process("run", "--resume", "moved", "--no-report", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert read_run(moved).info.finished is not None


def test_a_run_is_not_resumed_with_other_logits_or_without_its_files(tmp_path: Path) -> None:
    mine, logits = tmp_path / "mine.py", tmp_path / "mine.npy"
    mine.write_text("def softmax(x, axis=-1): return x", encoding="utf-8")
    np.save(logits, np.ones((3, 7), np.float32))
    folder = small_run(tmp_path, "-i", "mine.py", "--logits", "mine.npy")
    cut_short(folder)

    def refused() -> str:
        done = in_this_process("run", "--resume", str(folder), cwd=tmp_path)
        assert done.exit_code == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    np.save(logits, np.zeros((3, 7), np.float32))
    assert "mine.npy has changed since the run began" in refused()
    logits.unlink()
    assert "the logits that the run began with cannot be read, put them back" in refused()
    np.save(logits, np.ones((3, 7), np.float32))
    mine.rename(tmp_path / "away.py")
    assert "an implementation that the run began with cannot be read, put it back" in refused()
    (tmp_path / "away.py").rename(mine)
    done = in_this_process("run", "--resume", str(folder), "--no-report", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr


def test_a_run_of_a_file_is_resumed_unless_the_file_changed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def softmax(x, axis=-1): return x", encoding="utf-8")
    folder = small_run(tmp_path, "-i", "mine.py")
    cut_short(folder)
    resume = ("run", "--resume", str(folder), "--no-report")
    mine.write_text("def softmax(x, axis=-1): return x + 1", encoding="utf-8")
    changed = in_this_process(*resume, cwd=tmp_path)
    assert changed.exit_code == 2
    assert "mine has changed since the run began" in changed.stderr
    mine.write_text("def softmax(x, axis=-1): return x", encoding="utf-8")
    assert in_this_process(*resume, cwd=tmp_path).exit_code == 0
    run = read_run(folder)
    assert len(run.records) == run.info.planned_cells


JUDGED = """
import sys
from harness.cli import app as cli
from harness.experiments import check, verdict
item = verdict.Instance("softmax é", "expected ∑ – got µ 软", ("0x1p+0",), "é", "µ")
problem = verdict.Problem(("state",), "é", "∑", 2, "softmax in é", "softmax(软)[0] = µ", (item,))
areas = (
    verdict.Area("state", 3, (problem,), (problem,)), verdict.Area("accuracy", 1, note="µ"),
    verdict.Area("speed", 1),
)
speeds = (
    verdict.Speed("cached", 2, 3, 1, 5e3, 1.0, (verdict.SpeedRatio("é", 1.0, 0.9, 1.1),)),
    verdict.Speed("latency", 2, 3, 1, reason="µ"),
)
report = verdict.Report(
    "mine", verdict.Verdict.PASS, "é", "softmax in µ", ("é",), ("软",), areas, (item,), (item,),
    (item,), 1, {"float32": 0.5}, speeds, ("é",)
)
check.check = lambda *_, **__: report
cli.main()
"""
"""`check` with a verdict that is there at once, and prints everything that a check can print."""
GRID = "--profile smoke --experiment accuracy --dtype float32 --classes 3 --workload normal"
SMALL = "--every 100000 --workers 1 --no-keep"
TIMED = "--operation softmax --experiment throughput --threads one"  # beside the grid
COMMANDS = {
    "-m harness --help": 0,
    "-m harness --version": 0,
    "-m harness list bounds": 0,
    "-m harness list workloads": 0,
    "-m harness claims A1 --details": 0,
    "-m harness new fresh --folder {fresh}": 0,
    f"-m harness run {GRID} -i max_shift --results {{fresh}} --reports {{fresh}}/reports": 0,
    "-m harness compare results results": 0,
    "-m harness show results": 0,
    "-m harness report results -o {fresh}": 0,
    f"-m harness exhaustive -i max_shift --table exp_order {SMALL}": 0,
    "-m harness worst-case max_shift --evaluations 10 --no-keep": 0,
    "-m judged check mine --verbose": 0,
    "-m judged check mine --report {fresh}": 0,
    "-m harness.gpu --tests {fresh} --profile smoke": 3,
    "-m harness list stars–µ": 2,
    "-m harness run -i absent–µ.py": 2,
}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run in it, in which commands can be given."""
    folder = tmp_path_factory.mktemp("busy")
    small_run(folder, "-i", "max_shift")
    (folder / "judged.py").write_text(JUDGED, encoding="utf-8")
    return folder


def test_report_from_a_folder_of_runs(busy: Path, tmp_path: Path) -> None:
    done = in_this_process("report", "results", "-o", str(tmp_path / "site"), cwd=busy)
    assert done.exit_code == 0, done.stderr
    assert "max_shift" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def lines_of(*arguments: str, cwd: Path) -> list[str]:
    """What a command that succeeds prints."""
    done = in_this_process(*arguments, cwd=cwd)
    assert done.exit_code == 0, done.stderr
    return done.stdout.splitlines()


def test_show_prints_the_table_with_which_the_run_ended(tmp_path: Path) -> None:
    ended = lines_of("run", *GRID.split(), "-i", "max_shift", "-i", "naive", "--machine", "box",
                     "--results", "my results", cwd=tmp_path)  # fmt: skip
    (folder,) = (tmp_path / "my results" / "box").iterdir()
    table = ended[: next(i for i, line in enumerate(ended) if line.startswith("results: "))]
    assert any("float32" in line for line in table)
    shown = lines_of("show", str(folder.relative_to(tmp_path)), cwd=tmp_path)
    assert shown[: len(table)] == table
    advised = next(line for line in ended if line.startswith("table: softmax-bench "))
    words = shlex.split(advised.removeprefix("table: softmax-bench "))
    assert lines_of(*words, cwd=tmp_path) == shown
    assert ended[-1].startswith("report: ")
    pages = shown[-1].removeprefix("pages: softmax-bench ")
    assert lines_of(*shlex.split(pages), cwd=tmp_path) == ["report: reports/site/index.html"]


def test_show_takes_the_newest_run_of_a_folder_and_says_which(busy: Path, tmp_path: Path) -> None:
    (run,) = (busy / "results" / "box").iterdir()
    for name, created in (("a", "2026-01-02"), ("b", "2026-01-03"), ("c", "2026-01-01")):
        there = shutil.copytree(run, tmp_path / "results" / "box" / name)
        told = json.loads((there / "run.json").read_text(encoding="utf-8"))
        told |= {"created": created}
        (there / "run.json").write_text(json.dumps(told), encoding="utf-8")
    first, second, *_ = lines_of("show", cwd=tmp_path)
    assert first == "the newest of 3 runs: results/box/b"
    assert second.endswith("begun 2026-01-03 UTC")


def test_show_says_how_to_go_on_with_a_run_that_was_interrupted(tmp_path: Path) -> None:
    folder = small_run(tmp_path, "-i", "max_shift").relative_to(tmp_path)
    with contextlib.chdir(tmp_path):
        cut_short(folder)
    shown = lines_of("show", str(folder), cwd=tmp_path)
    (told,) = [line for line in shown if line.startswith("not finished: ")]
    assert re.match(r"not finished: \d+ of \d+ cells; go on with: softmax-bench run", told)
    words = shlex.split(told.partition("go on with: softmax-bench ")[2])
    lines_of(*words, "--no-report", cwd=tmp_path)
    assert not any("not finished" in line for line in lines_of("show", str(folder), cwd=tmp_path))


def test_show_of_a_damaged_run_shows_the_rest(tmp_path: Path) -> None:
    folder = small_run(tmp_path, "-i", "max_shift")
    whole = lines_of("show", str(folder), cwd=tmp_path)
    with open(folder / "cells.jsonl", "a", encoding="utf-8") as cells:
        cells.write("cut\n")
    shown = lines_of("show", str(folder), cwd=tmp_path)
    told = " ".join(line for line in shown if line not in whole)
    assert told.startswith("damaged: 1 part could not be read (cells.jsonl:")
    assert [line for line in whole if line not in shown] == []


@pytest.mark.parametrize(
    ("description", "told"),
    [("{", "not JSON"), ("{}", "schema version None"), ('{"schema_version": 1}', "Field required")],
)
def test_show_of_a_run_that_cannot_be_read_is_one_line(
    tmp_path: Path, description: str, told: str
) -> None:
    (tmp_path / "run.json").write_text(description, encoding="utf-8")
    done = in_this_process("show", ".", cwd=tmp_path)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert told in line


@pytest.mark.parametrize("run", ["20261122T141242Z-a112ab", "20261122T124308Z-378d07"])
def test_show_of_a_committed_run(run: str) -> None:
    """Of the oldest kind, without accuracy or timings: whole domains."""
    shown = "\n".join(lines_of("show", f"results/amd-epyc-4c/{run}", cwd=ROOT))
    assert f"exhaustive run {run} on amd-epyc-4c" in shown
    assert "Most accurate in float" in shown


def command_line(given: str, folder: Path) -> list[str]:
    fresh = Path(tempfile.mkdtemp(dir=folder))
    return [sys.executable, *given.format(fresh=fresh.name).split()]


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "gbk"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


PLAIN_ENVIRONMENT = {
    k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "PYTHONUTF8")
}
"""Whoever runs the tests may have chosen an encoding for all of them, as tox does."""


@pytest.mark.parametrize(("given", "code"), COMMANDS.items())
def test_no_encoding_ends_a_command(busy: Path, given: str, code: int) -> None:
    by_rich_and_print = re.search(r"bounds|verbose", given)
    for variables in ENCODINGS if by_rich_and_print else ENCODINGS[:1]:
        done = subprocess.run(
            command_line(given, busy),
            cwd=busy,
            capture_output=True,
            env={**PLAIN_ENVIRONMENT, **variables},
        )
        encoding = variables.get("PYTHONIOENCODING", "ascii")
        errors = done.stderr.decode(encoding)
        assert done.returncode == code, (variables, errors)
        assert "Traceback" not in errors
        assert "UnicodeEncodeError" not in errors
        assert done.stdout.decode(encoding) or errors


@pytest.mark.parametrize(("given", "code"), COMMANDS.items())
def test_a_reader_who_leaves_changes_no_exit_code(busy: Path, given: str, code: int) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            command_line(given, busy), cwd=busy, stdout=write, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("unbuffered", [[], ["-u"]], ids=["", "unbuffered"])
def test_output_that_cannot_be_written_is_told(
    tmp_path: Path, stream: str, unbuffered: list[str]
) -> None:
    words = [sys.executable, *unbuffered, "-m", "harness", "list", "bounds"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        done = subprocess.run(words, cwd=tmp_path, text=True, **{**streams, stream: full})
    if stream == "stdout":
        assert done.returncode == 2
        assert "standard output cannot be written (No space left on device)" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    else:
        assert (done.returncode, len(done.stdout.splitlines()) > 4) == (0, True)


def test_without_standard_streams_a_command_does_its_work(tmp_path: Path) -> None:
    script = f"{sys.executable} -m harness new mine >&- 2>&-"
    assert subprocess.run(script, shell=True, cwd=tmp_path).returncode == 0
    assert (tmp_path / "mine.py").is_file()


@pytest.mark.parametrize(
    ("source", "options", "code", "told"),
    [
        ("from . import absent", TIMED, 3, "error, load: ImportError: attempted relative import"),
        ("raise SystemExit(0)", "", 3, "crashed, load: the process left with exit status 0"),
        ("def softmax(x, axis=-1): raise RuntimeError('no')", "", 3, "run: RuntimeError: no"),
        ("import os\ndef softmax(x, axis=-1): os.abort()", "", 3, "crashed, "),
        ("IMPLEMENTATION = {'dtypes': ('float64',)}", "", 3, "unsupported, "),
        ("from . import absent", "-i max_shift", 0, None),
        ("def softmax(x, axis=-1): return x", "", 0, None),  # measured, and wrong
    ],
)
def test_a_run_that_measured_nothing_is_told_from_one_that_did(
    tmp_path: Path, source: str, options: str, code: int, told: str | None
) -> None:
    """Also where limits and controls were timed beside it, which are no implementations."""
    mine = source if "softmax" in source else f"{source}\ndef softmax(x, axis=-1): return x\n"
    (tmp_path / "mine.py").write_text(mine, encoding="utf-8")
    given = ("run", *f"{GRID} --no-report -i mine.py {options}".split())
    done = in_this_process(*given, cwd=tmp_path)
    assert done.exit_code == code, done.stderr
    last = done.stderr.splitlines()[-1]
    if told is None:
        assert "nothing was measured" not in last
    else:
        assert last.startswith("softmax-bench: nothing was measured (mine: "), last
        assert told in last


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "-i", "max_shift", "--machine", "a/b c:é"],
        ["exhaustive", "-i", "max_shift", "--machine", "a/b c:é"],
        ["worst-case", "max_shift", "--machine", "a/b c:é"],
        ["run", "-i", "mine\udcff.py"],
        ["run", "-i", "mine.py"],
        ["check", "mine\udcff.py"],
        ["exhaustive", "-i", "mine\udcff.py"],
        ["worst-case", "mine\udcff.py"],
    ],
    ids=ascii,
)
def test_what_run_json_cannot_hold_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str]
) -> None:
    source = '"""Half of a surrogate: \\udc80."""\ndef softmax(x, axis=-1): return x\n'
    for name in ("mine.py", "mine\udcff.py"):
        (tmp_path / name).write_text(source, encoding="utf-8")
    done = in_this_process(*arguments, cwd=tmp_path)
    assert done.exit_code == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("softmax-bench:")]
    assert "is not UTF-8" in line or "machine name: expected 1 to 80 letters" in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        f"run {GRID} -i max_shift --no-report",
        "check max_shift --no-timing",
        f"exhaustive -i max_shift --table exp_order {SMALL}",
        "worst-case max_shift --evaluations 10 --no-keep",
    ],
)
def test_advice_about_open_files_can_be_followed(busy: Path, arguments: str) -> None:
    """The number of the message is enough; no implementation is blamed for too small a one."""

    def limited(limit: int) -> subprocess.CompletedProcess[str]:
        start = become(f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))")
        return subprocess.run(
            [*start, "harness", *arguments.split()], cwd=busy, text=True, capture_output=True
        )

    done = limited(24)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    advised = re.search(r"raise it with ulimit -n (\d+)", line)
    assert advised is not None, line
    assert "Errno" not in line
    if not arguments.startswith("check"):  # which would take a minute
        done = limited(int(advised[1]))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a font"), "raise it with ulimit -n "),
        (OSError(errno.ENOENT, "No such file", "a b"), "a b: No such file; mend that, or give"),
        (OSError("something"), "something; mend that, or give another path"),
    ],
    ids=["open files", "with a path", "without a number"],
)
def test_what_the_system_says_is_told_with_advice(
    capsys: pytest.CaptureFixture[str], error: OSError, told: str
) -> None:
    with pytest.raises(typer.Exit) as caught, one_line_errors():
        raise error
    assert caught.value.exit_code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert "Errno" not in line


def test_a_soft_limit_of_open_files_is_raised(busy: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    start = become(f"resource.setrlimit(resource.RLIMIT_NOFILE, (24, {most}))")
    done = subprocess.run(
        [*start, "harness", *f"run {GRID} -i max_shift --no-report".split()],
        cwd=busy, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ("claims A1 --json", "/dev/full"),
        ("compare {run} {run} --json", "/dev/full"),
        ("compare {run} {run} --markdown", "/dev/full"),
        ("report results -o", "judged.py/site"),
        ("report results --export pytest-benchmark -o", "judged.py/site"),
        ("new mine --folder", "judged.py/mine"),
        ("-m judged check mine --markdown", "/dev/full"),
        ("-m judged check mine --json", "/dev/full"),
        (f"run {GRID} -i max_shift --results", "judged.py/results"),
    ],
)
def test_a_place_that_takes_no_output_is_named(busy: Path, arguments: str, place: str) -> None:
    (run, *_) = (busy / "results" / "box").iterdir()
    words = [*arguments.format(run=run).split(), place]
    done: Any
    if words[0] == "-m":
        done = subprocess.run([sys.executable, *words], cwd=busy, capture_output=True, text=True)
        code = done.returncode
    else:
        done = in_this_process(*words, cwd=busy)
        code = done.exit_code
    assert code == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"softmax-bench: {place}"), line
    assert "cannot be written" in line
    assert re.search("another place", line), line
    assert "Errno" not in line
    assert "Traceback" not in done.stderr


FULL = """
import errno, os, sys
from harness.cli import app as cli
from harness.records import writer as run_writer

class FullDisk(run_writer.FileIO):
    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

run_writer.FileIO = FullDisk
cli.main()
"""


def test_the_command_that_a_full_disk_advises_goes_on(tmp_path: Path) -> None:
    """Word for word, with a name that a shell would part."""
    (tmp_path / "full.py").write_text(FULL, encoding="utf-8")
    options = ["-i", "max_shift", "--results", "my results", "--no-report"]
    words = [sys.executable, "-m", "full", "run", *GRID.split(), *options]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    command = done.stderr.strip().partition("go on with: softmax-bench ")[2]
    done = in_this_process(*shlex.split(command), "--no-report", cwd=tmp_path)
    assert done.exit_code == 0, (command, done.stderr)


def test_run_json_is_strict(smoke: tuple[Path, str]) -> None:
    (folder,) = (smoke[0] / "results" / "box").iterdir()

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    for line in (folder / "cells.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    json.loads((folder / "run.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_some_implementations_take_part_only_where_they_are_named() -> None:
    """Kernels of attention where that is asked for, and those that say so where -i names them."""
    of_all = {one.name for one in select(())}
    assert {"max_shift", "numba_cpu"} <= of_all
    assert not {"two_pass_numba", "online_lazy"} & of_all
    assert "online_lazy" in {one.name for one in select((), ("attention",))}
    assert [one.name for one in select(("two_pass_numba",))] == ["two_pass_numba"]
