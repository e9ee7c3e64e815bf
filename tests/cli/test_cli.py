"""The command in a subprocess: what a user types, sees and gets as exit code."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.cli import app as app_module
from harness.experiments.profiles import SMOKE
from harness.records.reader import read_run


def softmax_bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One real smoke run with its report: the folder it ran in, and what it printed."""
    cwd = tmp_path_factory.mktemp("smoke")
    done = softmax_bench("run", "--profile", "smoke", "--machine", "box", cwd=cwd)
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


def test_report_from_a_folder_of_runs(smoke: tuple[Path, str]) -> None:
    done = softmax_bench("report", "results", "-o", "site", cwd=smoke[0])
    assert done.returncode == 0, done.stderr
    assert (smoke[0] / "site" / "index.html").is_file()


def test_captured_logits_are_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "mine.npy", rng.normal(size=(3, 50)).astype(np.float32))
    done = softmax_bench(
        "run", "--profile", "smoke", "--logits", "mine.npy", "-i", "max_shift", "--experiment",
        "accuracy", "--dtype", "float32", "--no-report", "--machine", "box",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results" / "box").iterdir()
    records = [r for r in read_run(folder).records if str(r.workload).startswith("file(")]
    assert [(r.classes, r.rows, r.status) for r in records] == [(50, 3, "ok")]
    assert str(tmp_path) not in str(records[0].workload)


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
        (["run", "--resume", "absent"], 2, "absent: not a run"),
        (["report", "absent"], 2, "absent: no such file or folder"),
        (["report", "."], 2, "holds no run"),
        (["list", "stars"], 2, "expected one of implementations"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = softmax_bench(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in the way", encoding="utf-8")
    done = softmax_bench("run", "--profile", "smoke", "-i", "max_shift", cwd=tmp_path)
    assert done.returncode == 2
    assert "choose another place with --results" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["implementations", "workloads", "classes", "profiles", "bounds"])
def test_list(tmp_path: Path, what: str) -> None:
    done = softmax_bench("list", what, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 4


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
        sys.executable, "-m", "harness", "run", "--profile", "quick", "-i", "max_shift",
        "--experiment", "accuracy", "--dtype", "float32", "--machine", "box", "--no-report",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A runner of tests in the background may have it ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
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
    again = softmax_bench("run", "--resume", str(folder), "--no-report", cwd=tmp_path)
    assert again.returncode == 2
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


def test_a_run_of_a_file_is_resumed_unless_the_file_changed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def softmax(x, axis=-1): return x", encoding="utf-8")
    done = softmax_bench(
        "run", "--profile", "smoke", "-i", "mine.py", "--experiment", "accuracy", "--no-report",
        "--machine", "box", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results" / "box").iterdir()
    description = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    description["finished"] = None
    (folder / "run.json").write_text(json.dumps(description), encoding="utf-8")
    cells = (folder / "cells.jsonl").read_text(encoding="utf-8")
    (folder / "cells.jsonl").write_text(cells[: len(cells) // 2], encoding="utf-8")
    resume = ("run", "--resume", str(folder), "--no-report")
    mine.write_text("def softmax(x, axis=-1): return x + 1", encoding="utf-8")
    changed = softmax_bench(*resume, cwd=tmp_path)
    assert changed.returncode == 2
    assert "mine has changed since the run began" in changed.stderr
    mine.write_text("def softmax(x, axis=-1): return x", encoding="utf-8")
    assert softmax_bench(*resume, cwd=tmp_path).returncode == 0
    run = read_run(folder)
    assert len(run.records) == run.info.planned_cells


def test_run_json_is_strict(smoke: tuple[Path, str]) -> None:
    (folder,) = (smoke[0] / "results" / "box").iterdir()

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    for line in (folder / "cells.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    json.loads((folder / "run.json").read_text(encoding="utf-8"), parse_constant=refuse)


def commands_of(page: Path) -> list[str]:
    """The command lines of a page's code blocks, without what stands behind a ``#``."""
    lines = re.findall(r"^softmax-bench [^\n]*", page.read_text(encoding="utf-8"), re.M)
    return [line.partition("#")[0].strip() for line in lines]


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_command_of_the_pages_is_one(page: Path) -> None:
    """Each is parsed: its options exist and take what is given."""
    import typer

    group = typer.main.get_command(app_module.app)
    for line in commands_of(page):
        name, *arguments = shlex.split(line)[1:]
        assert name in group.commands, line  # type: ignore[attr-defined]
        command = group.commands[name]  # type: ignore[attr-defined]
        try:
            command.make_context(name, arguments)
        except Exception as error:
            pytest.fail(f"{page.name}: {line}: {error}")
