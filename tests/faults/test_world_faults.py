"""Faults of the world: signals, disks, clocks, machines, packages, damaged files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kill_loop import _left
from misbehaving import source

from harness.cli import session
from harness.cli.new import scaffold
from harness.errors import CannotWrite
from harness.experiments.check import check
from harness.experiments.profiles import SMOKE
from harness.experiments.runner import Progress, Request, run
from harness.experiments.worst_case.corpus import add_to_corpus, read_corpus
from harness.experiments.worst_case.search import search_worst_case
from harness.records import AccuracyRecord
from harness.records import writer as run_writer
from harness.records.reader import (
    CELLS_FILE,
    RUN_FILE,
    ResultsError,
    ResultsWarning,
    RunWriter,
    cell_key,
    read_run,
    read_runs,
)
from harness.report import build
from harness.worker.isolation.numba_cache import compiled_cache
from harness.worker.isolation.reaper import TOKEN_VARIABLE
from harness.worker.local import load

TINY = replace(
    SMOKE,
    experiments=("accuracy",),
    dtypes=("float32",),
    sweep_classes=(2, 5, 10, 20),
    sweep_elements=64,
    families=(),
    timing={},
)
RECORD = AccuracyRecord(
    implementation="a", dtype="float32", workload="normal(scale=1)", classes=2, status="ok"
)


def request(tmp_path: Path, **changes: Any) -> Request:
    base = Request([load("max_shift")], TINY, results=tmp_path / "r", machine="box", command=["x"])
    return replace(base, **changes)


def interrupted(tmp_path: Path, after: int = 2) -> Path:
    """A run that was interrupted when so many units were done."""
    folders: list[Path] = []
    units: list[Any] = []

    def finished(*unit: Any) -> None:
        units.append(unit)
        if len(units) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(tmp_path), Progress(folder=folders.append, finished=finished))
    return folders[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return run(request(tmp_path_factory.mktemp("whole"))).path


# --- signals ------------------------------------------------------------------------------------


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    chosen = f"/test-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv(TOKEN_VARIABLE, chosen)
    yield chosen
    assert _left(chosen) == []


def _started(tmp_path: Path, body: str) -> tuple[subprocess.Popen[str], Path]:
    """The command line in a process of its own, when its implementation is in its first call."""
    told = tmp_path / "called"
    path = tmp_path / "slow.py"
    path.write_text(source(f"open({str(told)!r}, 'w').close()\n{body}"), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "--profile", "smoke", "--experiment", "accuracy",
         "--dtype", "float32", "-i", str(path), "--results", str(tmp_path / "results"),
         "--machine", "box", "--reports", str(tmp_path / "reports")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    end = time.monotonic() + 100
    while not told.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    return process, tmp_path / "results" / "box"


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)],
)
def test_a_signal_ends_the_run_and_keeps_what_there_is(
    tmp_path: Path, token: str, number: signal.Signals
) -> None:
    # What runs in the background may ignore signals, and those that it starts would
    former = signal.signal(number, signal.SIG_DFL)
    try:
        process, place = _started(tmp_path, "while True: time.sleep(600)")
    finally:
        signal.signal(number, former)
    sent = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - sent < 40  # not the minute that the call may take
    assert process.returncode == 130
    (folder,) = place.iterdir()
    assert f"--resume {folder}" in " ".join(told.split())
    assert read_run(folder).info.finished is None


def test_killing_the_coordinator_leaves_no_process(tmp_path: Path, token: str) -> None:
    process, place = _started(
        tmp_path, "if os.fork() == 0: time.sleep(600)\nctypes.PyDLL(None).sleep(600)"
    )
    process.kill()
    process.communicate(timeout=60)
    (folder,) = place.iterdir()
    assert read_run(folder).info.finished is None  # and the fixture looks for what is left


# --- disks --------------------------------------------------------------------------------------


class FullDisk(run_writer.FileIO):
    """A file on a disk that takes one more half of a line."""

    room = 1500

    def write(self, data: Any) -> int:
        FullDisk.room -= len(data)
        if FullDisk.room < 0:
            super().write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_keeps_whole_records_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    folders: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(FullDisk, "room", 3000)
        patch.setattr(run_writer, "FileIO", FullDisk)
        with pytest.raises(ResultsError, match=r"No space left .* --resume"):
            run(request(tmp_path), Progress(folder=folders.append))
    part = read_run(folders[0])
    assert part.problems == []
    assert 0 < len(part.records) < 4
    resumed = read_run(run(request(tmp_path, resume=folders[0])).path)
    assert {cell_key(r) for r in resumed.records} == {cell_key(r) for r in read_run(whole).records}


def test_a_full_disk_for_temporary_files_tells_of_no_run_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is not kept is gone by then; TMPDIR, which the message names, is followed."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "first"))
    with monkeypatch.context() as patch:
        patch.setattr(FullDisk, "room", 3000)
        patch.setattr(run_writer, "FileIO", FullDisk)
        for not_kept in (
            lambda: session.measure(request(tmp_path), Progress(), keep=False),
            lambda: check("max_shift", timing=False, dtypes=("float32",)),
        ):
            with pytest.raises(ResultsError, match=r"No space left .* set TMPDIR") as caught:
                not_kept()
            assert "--resume" not in str(caught.value)
            assert str(tmp_path / "first") in str(caught.value)
    assert list((tmp_path / "first").iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "second"))
    assert session.measure(request(tmp_path), Progress(), keep=False).info.finished is not None


def test_without_a_folder_for_temporary_files_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", none)
        with pytest.raises(ResultsError, match="set TMPDIR to one"):
            session.measure(request(tmp_path), Progress(), keep=False)


@pytest.mark.parametrize(
    ("profile", "advised"),
    [
        ("smoke", "go on with: softmax-bench run --resume '"),
        ("exhaustive", "go on with: softmax-bench exhaustive --resume '"),
        ("worst-case", "then begin anew"),
        ("check", "then begin anew"),
        ("gpu-quick", "then begin anew"),
    ],
)
def test_a_full_disk_advises_what_the_kind_of_run_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, profile: str, advised: str
) -> None:
    """And what is advised is what `--resume` takes: no other command goes on with such a run."""
    folder = tmp_path / "a folder with spaces"
    with monkeypatch.context() as patch:
        patch.setattr(FullDisk, "room", 100)
        patch.setattr(run_writer, "FileIO", FullDisk)
        described = read_run(whole).info.model_copy(update={"profile": profile, "finished": None})
        with (
            pytest.raises(ResultsError, match="No space left") as caught,
            RunWriter(folder, described) as writer,
        ):
            writer.append(RECORD)
    assert advised in str(caught.value)
    _, _, command = str(caught.value).partition("go on with: softmax-bench ")
    for kind in ("run", "exhaustive"):
        if command and shlex.split(command) == [kind, "--resume", str(folder)]:
            found, chosen = session.interrupted(folder, kind)
            assert (found.info.profile, [c.name for c in chosen]) == (profile, ["max_shift"])
        else:
            with pytest.raises(ResultsError, match=f"use softmax-bench {command}|begin it anew"):
                session.interrupted(folder, kind)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: part of a write succeeds, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_nothing_is_left_of_a_file_that_did_not_fit(tmp_path: Path) -> None:
    whole = sorted(p.stat().st_size for p in scaffold("mine", tmp_path / "whole"))
    folder = tmp_path / "folder"
    for size in (100, whole[1] - 1):  # the first of two files fails, or the larger one
        with largest_file(size), pytest.raises(CannotWrite, match=f"{folder}: cannot be written"):
            scaffold("mine", folder)
        assert list(folder.iterdir()) == []
    assert [p.name for p in scaffold("mine", folder)] == ["mine.py", "test_mine.py"]
    corpus = tmp_path / "corpus.jsonl"
    cases = [
        search_worst_case("max_shift", seconds=None, evaluations=20, classes=c) for c in (2, 3)
    ]
    (first,) = add_to_corpus(cases[:1], corpus)
    size = corpus.stat().st_size
    with largest_file(size + 50), pytest.raises(CannotWrite, match=r"corpus\.jsonl: cannot be"):
        add_to_corpus(cases, corpus)
    assert corpus.stat().st_size == size
    assert read_corpus(corpus) == [first]
    assert len(add_to_corpus(cases, corpus)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can be mounted by root alone")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this container may not mount a disk")
    try:
        big = request(tmp_path, results=disk, profile=replace(TINY, sweep_classes=range(2, 60)))
        folders: list[Path] = []
        with pytest.raises(ResultsError, match=r"No space left"):
            run(big, Progress(folder=folders.append))
        assert read_run(folders[0]).problems == []
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        resumed = read_run(run(replace(big, resume=folders[0])).path)
        assert resumed.info.finished is not None
        assert len(resumed.records) == resumed.info.planned_cells
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_place_that_cannot_be_written_is_refused_before_measuring(tmp_path: Path) -> None:
    units: list[Any] = []
    with pytest.raises(ResultsError, match=r"cannot be written .* --results"):
        run(request(tmp_path, results=Path("/proc/nowhere")), Progress(unit=units.append))
    assert units == []


def test_two_writers_of_one_run_are_refused(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    info = read_run(folder).info
    with (
        RunWriter(folder, info, resume=[]),
        pytest.raises(ResultsError, match="another process is writing"),
    ):
        run(request(tmp_path, resume=folder))
    assert read_run(run(request(tmp_path, resume=folder)).path).info.finished is not None


def test_what_a_killed_writer_left_is_tidied_up(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    (folder / f".{RUN_FILE}.12345").write_text("{", encoding="utf-8")
    run(request(tmp_path, resume=folder))
    assert sorted(p.name for p in folder.iterdir()) == [CELLS_FILE, RUN_FILE]


def test_a_finished_run_is_never_changed(tmp_path: Path, whole: Path) -> None:
    before = (whole / CELLS_FILE).read_bytes(), (whole / RUN_FILE).read_bytes()
    with pytest.raises(ResultsError, match="finished runs are never changed"):
        run(request(tmp_path, resume=whole))
    assert before == ((whole / CELLS_FILE).read_bytes(), (whole / RUN_FILE).read_bytes())


def test_what_is_known_of_exponentials_outlives_a_kill(tmp_path: Path, whole: Path) -> None:
    folder = interrupted(tmp_path, after=1)
    (before,) = read_run(folder).info.implementations
    (undisturbed,) = read_run(whole).info.implementations
    assert before.exp_error_u == undisturbed.exp_error_u != {}
    (after,) = read_run(run(request(tmp_path, resume=folder)).path).info.implementations
    assert after == undisturbed


# --- clocks and machines ------------------------------------------------------------------------


def test_a_clock_that_steps_back_changes_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime.now(UTC)
    looks: list[int] = []

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            looks.append(0)
            return start - timedelta(hours=len(looks))

    monkeypatch.setattr("harness.experiments.run_info.datetime", Clock)
    monkeypatch.setattr("harness.records.writer.datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: start.timestamp() - 3600.0 * len(looks))
    found = read_run(run(request(tmp_path)).path)
    assert found.info.finished is not None
    assert found.info.finished < found.info.created
    assert all(r.status == "ok" and (r.elapsed_s or 0.0) >= 0.0 for r in found.records)
    assert build([found.path], tmp_path / "site").is_file()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"logical_cores": 999}, "usable processors 999 is now"),
        ({"cpu": "abacus"}, "processor abacus is now"),
        ({"python": "CPython 2.7"}, r"Python CPython 2\.7 is now"),
    ],
)
def test_a_run_is_not_continued_on_another_machine(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    folder = interrupted(tmp_path)
    text = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    text["machine"] |= fields
    (folder / RUN_FILE).write_text(json.dumps(text), encoding="utf-8")
    cells = (folder / CELLS_FILE).read_bytes()
    with pytest.raises(ResultsError, match=reason):
        run(request(tmp_path, resume=folder))
    assert (folder / CELLS_FILE).read_bytes() == cells


@pytest.mark.parametrize("change", [{"id": "../../elsewhere"}, {"machine": {"slug": "/etc"}}])
def test_names_in_a_run_never_lead_out_of_our_folders(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = interrupted(tmp_path)
    text = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    (folder / RUN_FILE).write_text(json.dumps({**text, **change}), encoding="utf-8")
    with pytest.raises(ResultsError, match="is no name of a"):
        run(request(tmp_path, resume=folder))


def test_processors_that_go_away_during_a_run_are_noted(tmp_path: Path) -> None:
    usable = os.sched_getaffinity(0)
    if len(usable) < 2:
        pytest.skip("needs two processors, to take one away")
    notes: list[str] = []
    try:
        found = run(
            request(tmp_path),
            Progress(
                unit=lambda _: os.sched_setaffinity(0, {min(usable)}),
                note=notes.append,
            ),
        ).path
    finally:
        os.sched_setaffinity(0, usable)
    (warning,) = [w for w in read_run(found).info.warnings if "changed during the run" in w]
    assert f"from {len(usable)} to 1" in warning
    assert notes == [warning]


# --- packages and caches ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("raise ImportError('libfoo.so.1: cannot open shared object file')", "libfoo"),
        pytest.param("raise RuntimeError('half installed')", "half", marks=pytest.mark.slow),
        pytest.param("import no_such_thing", "no_such_thing", marks=pytest.mark.slow),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_half_installed_package_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, reason: str
) -> None:
    home = tmp_path / "packages" / "halfway"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text(package, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(home.parent))
    monkeypatch.syspath_prepend(str(home.parent))
    path = tmp_path / "needs_it.py"
    path.write_text(
        source("return x * 1", 'import halfway\nIMPLEMENTATION = {"requires": ("halfway",)}\n'),
        encoding="utf-8",
    )
    found = read_run(run(request(tmp_path, implementations=[load("max_shift"), load(path)])).path)
    status = {(r.implementation, r.status) for r in found.records}
    assert status == {("max_shift", "ok"), ("needs_it", "error")}
    assert all(reason in str(r.reason) for r in found.records if r.implementation == "needs_it")


def test_a_missing_package_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "needs_it.py"
    path.write_text(
        source("return x * 1", 'IMPLEMENTATION = {"requires": ("not_there_at_all",)}\n'),
        encoding="utf-8",
    )
    found = read_run(run(request(tmp_path, implementations=[load("max_shift"), load(path)])).path)
    reasons = {r.reason for r in found.records if r.status == "unavailable"}
    assert len(reasons) == 1
    assert "not_there_at_all" in str(reasons)


def test_without_a_writable_cache_everything_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("SOFTMAX_BENCH_CACHE", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "/proc/nowhere")
    compiled_cache.cache_clear()
    path = tmp_path / "compiled.py"
    path.write_text(
        source(
            "return kernel(x)",
            "import numba\n"
            "@numba.njit(cache=True)\n"
            "def kernel(x): return np.exp(x) / np.exp(x).sum()\n",
        ),
        encoding="utf-8",
    )
    try:
        assert compiled_cache()["NUMBA_CACHE_DIR"] != "/proc/nowhere"
        found = read_run(
            run(request(tmp_path, implementations=[load("max_shift"), load(path)])).path
        )
    finally:
        compiled_cache.cache_clear()
    assert {r.implementation: r.status for r in found.records}["max_shift"] == "ok"
    assert not [r for r in found.records if r.status not in ("ok", "failed")]


# --- files --------------------------------------------------------------------------------------

GOOD = RECORD.model_dump_json(exclude_none=True)
DAMAGES = {
    "cut in the middle of a line": GOOD[:40],
    "no JSON": "{",
    "a NaN literal": GOOD.replace("2", "NaN"),
    "an infinity literal": GOOD[:-1] + ',"max_ulp":Infinity}',
    "another experiment": GOOD.replace("accuracy", "alchemy"),
    "an unknown field": GOOD[:-1] + ',"surprise":1}',
    "a status that is none": GOOD.replace('"ok"', '"splendid"'),
    "a number where text is due": GOOD.replace('"a"', "17"),
    "a giant line": '"' + "x" * (5 << 20) + '"',
    "a giant number": GOOD[:-1] + ',"max_ulp":' + "9" * 5000 + "}",
    "deep nesting": "[" * 100_000,
    "bytes that are no text": "\udcff\udcfe",
    "a zero byte": "\0",
    "half of a surrogate": GOOD.replace('"a"', '"\\udc80"'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_line_loses_itself_only(tmp_path: Path, whole: Path, damage: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / RUN_FILE).write_bytes((whole / RUN_FILE).read_bytes())
    lines = (whole / CELLS_FILE).read_bytes().splitlines()
    broken = damage.encode("utf-8", "surrogateescape")
    (folder / CELLS_FILE).write_bytes(b"\n".join([lines[0], broken, *lines[1:]]) + b"\n")
    found = read_run(folder)
    assert found.records == read_run(whole).records
    (problem,) = found.problems
    assert problem.startswith(f"{CELLS_FILE}:2: ")
    assert problem.isprintable()
    assert len(problem) < 400


def test_of_duplicate_cells_the_last_counts_and_resuming_adds_none(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    cells = folder / CELLS_FILE
    cells.write_bytes(cells.read_bytes() * 3)
    again = read_run(run(request(tmp_path, resume=folder)).path)
    assert len(again.records) == again.info.planned_cells == 4


INFO_DAMAGES = {
    "missing": None,
    "empty": "",
    "cut": '{"schema_version": 1, "id": "a',
    "no JSON": "hello",
    "another schema version": '{"schema_version": 2}',
    "a hostile schema version": '{"schema_version": "' + "<script>" * 1000 + '"}',
    "a list": "[1]",
    "deep nesting": "[" * 100_000,
    "bytes that are no text": "\udcff",
}


@pytest.mark.parametrize("damage", INFO_DAMAGES.values(), ids=INFO_DAMAGES)
def test_a_run_that_cannot_be_read_leaves_the_others(
    tmp_path: Path, whole: Path, damage: str | None
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    if damage is not None:
        (bad / RUN_FILE).write_bytes(damage.encode("utf-8", "surrogateescape"))
    with pytest.raises(ResultsError) as caught:
        read_run(bad)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    if damage is not None:
        with pytest.warns(ResultsWarning, match="left out"):
            assert [r.path for r in read_runs([bad, whole])] == [whole]


@pytest.mark.parametrize("name", [RUN_FILE, CELLS_FILE])
@pytest.mark.parametrize("what", ["folder", "fifo", "dangling link", "device"])
def test_files_that_are_no_files_are_refused_without_waiting(
    tmp_path: Path, whole: Path, name: str, what: str
) -> None:
    for file in (RUN_FILE, CELLS_FILE):
        (tmp_path / file).write_bytes((whole / file).read_bytes())
    (tmp_path / name).unlink()
    if what == "folder":
        (tmp_path / name).mkdir()
    elif what == "fifo":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero" if what == "device" else "/nowhere")
    if name == RUN_FILE:
        with pytest.raises(ResultsError):
            read_run(tmp_path)
    else:
        found = read_run(tmp_path)
        assert found.records == []
        assert len(found.problems) == 1
