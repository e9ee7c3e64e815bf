"""Units on the workers of a Dask scheduler: the same records, whatever is lost on the way."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from dask_processes import differences, scheduler, worker

from harness.bounds.exp_error import measure_exp_error
from harness.cli.session import request_for
from harness.experiments.exhaustive.blocks import Blocks
from harness.experiments.exhaustive.plan import Tables
from harness.experiments.exhaustive.plan import plan as exhaustive_plan
from harness.experiments.exhaustive.sampled import TripleSample
from harness.experiments.profiles import PROFILES, SMOKE, Filters
from harness.experiments.runner import NothingToRun, Progress, Request, run
from harness.experiments.scheduled import crew as crews
from harness.experiments.scheduled.campaign import Scheduling
from harness.experiments.scheduled.crew import SchedulerError
from harness.experiments.scheduled.units import _Shared, _wanted
from harness.experiments.worst_case.plan import Search
from harness.experiments.worst_case.plan import plan as worst_case_plan
from harness.records.reader import Run, read_run
from harness.registry.discovery import load

PROFILE = replace(
    SMOKE,
    experiments=("accuracy", "overflow"),
    dtypes=("float32",),
    sweep_classes=(2, 10, 33),
    sweep_elements=512,
    families=("offset(offset=100)", "masked(fraction=0.25)"),
    family_classes=(10, 17),
    map_offsets=(100.0,),
    map_classes=(2,),
    scan_points=64,
)
WRONG = '''"""Wrong by a factor of two in rows of 33 classes; it says of itself what is not so."""

import numpy as np

IMPLEMENTATION = {"deviations": ({"id": "overflow", "reason": "it says so"},)}


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    return y * y.dtype.type(2) if x.shape[axis] == 33 else y


def logsumexp(x, axis=-1):
    y = np.log(np.exp(x).sum(axis=axis))
    return y * y.dtype.type(2) if x.shape[axis] == 33 else y
'''
LETHAL = '''"""Kills whoever judges it, where a row has 17 classes."""

import gc
import os
import gc
import signal
import subprocess
import sys

import numpy as np


def softmax(x, axis=-1):
    if x.shape[axis] == 17:
        os.kill(os.getppid(), signal.SIGKILL)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
'''
Make = Callable[[str, str], Path]


@pytest.fixture(autouse=True, scope="module")
def _as_many_exponentials() -> Iterator[None]:
    """The error of exp is measured here as workers do, who know nothing of the tests' shortcut."""
    patch = pytest.MonkeyPatch()
    patch.setattr("harness.experiments.context.measure_exp_error", measure_exp_error)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _connections_that_were_lost() -> Iterator[None]:
    """Dask leaves sockets of lost connections to the garbage collector, which is told of here."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def written(tmp_path: Path) -> Make:
    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    return write


def request(results: Path, names: list[Any], profile: Any = PROFILE, **more: Any) -> Request:
    more = {"scheduling": None, **more}
    return Request([load(n) for n in names], profile, results=results, machine="here", **more)


def test_a_run_is_the_same_on_workers_of_a_scheduler(tmp_path: Path, written: Make) -> None:
    names = ["max_shift", "naive", written("wrong", WRONG)]
    here = run(request(tmp_path / "here", names))
    there = run(request(tmp_path / "there", names, scheduling=Scheduling("local:2")))
    assert differences(here, there) == []
    assert {r.status for r in here.records} == {"ok", "failed"}
    explained = [r for r in there.records if getattr(r, "witness", None) is not None]
    assert {(r.implementation, r.classes) for r in explained} == {("wrong", 33)}
    assert {r.host for r in there.records} == {"host 1"}
    assert set(there.info.hosts) == {"host 1"}
    assert there.info.hosts["host 1"]["differs in"] == []
    assert {r.host for r in here.records} == {None}
    for one, other in zip(here.info.implementations, there.info.implementations, strict=True):
        assert one.exp_error_u == other.exp_error_u
        assert one.exp_error_u


def test_the_catalogue_says_the_same_on_workers(tmp_path: Path, written: Make) -> None:
    profile = replace(PROFILE, experiments=("conformance",), operations=("logsumexp",))
    names = ["max_shift", written("wrong", WRONG)]
    here = run(request(tmp_path / "here", names, profile))
    there = run(request(tmp_path / "there", names, profile, scheduling=Scheduling("local:2")))
    assert differences(here, there) == []
    assert any(getattr(r, "witness", None) is not None for r in there.records)
    excused = [r for r in there.records if r.workload == "deviation-overflow"]
    assert [(r.implementation, r.status, r.host) for r in excused] == [("wrong", "ok", None)]


def tables(
    folder: Path, names: list[Any], *, on_rows: Any = None, **asked: Any
) -> tuple[Request, Progress]:
    """A request of `softmax-bench exhaustive`, and the progress that it needs."""
    scheduling, before = asked.pop("scheduling", None), asked.pop("resume", None)
    filters = Tables(**asked)
    folders: list[Path] = []
    plan = partial(exhaustive_plan, asked=filters, folder=lambda: folders[-1], on_rows=on_rows)
    wanted = request_for(
        "exhaustive", [load(n) for n in names], filters, plan,
        seed=0, results=folder, machine="here", resume=before, scheduling=scheduling,
    )  # fmt: skip
    return wanted, Progress(folder=folders.append)


ASKED = {"tables": ("float8", "constant", "exp_order"), "dtypes": ("float8_e4m3fn", "float16")}


def test_exhaustive_tables_are_the_same(tmp_path: Path) -> None:
    asked = {**ASKED, "every": 251}
    here = run(*tables(tmp_path / "here", ["max_shift", "numba_exact"], **asked))
    there = run(
        *tables(
            tmp_path / "there",
            ["max_shift", "numba_exact"],
            **asked,
            scheduling=Scheduling("local:2"),
        )
    )
    assert differences(here, there) == []
    assert sum(r.status == "ok" for r in here.records) == 6
    assert not list(there.path.glob(".*"))


def test_pairs_are_the_same_in_shares(tmp_path: Path) -> None:
    asked = {"tables": ("pairs",), "dtypes": ("bfloat16",), "every": 397}
    here = run(*tables(tmp_path / "here", ["max_shift"], **asked))
    there = run(
        *tables(tmp_path / "there", ["max_shift"], **asked, scheduling=Scheduling("local:2"))
    )
    assert differences(here, there) == []
    assert here.records[0].max_ulp is not None  # type: ignore[attr-defined]


def test_an_interrupted_table_goes_on_where_it_was(tmp_path: Path) -> None:
    asked = {"tables": ("float8",), "dtypes": ("float8_e4m3fn",), "every": 5}

    def interrupt(label: str, done: int, total: int) -> None:
        if done > total // 3:
            raise KeyboardInterrupt

    begun, progress = tables(
        tmp_path, ["max_shift"], **asked, on_rows=interrupt, scheduling=Scheduling("local:2")
    )
    with pytest.raises(KeyboardInterrupt):
        run(begun, progress)
    (folder,) = (tmp_path / "here").iterdir()
    before = read_run(folder)
    assert not before.records
    seen: list[int] = []
    again, progress = tables(
        tmp_path, ["max_shift"], **asked, resume=before,
        on_rows=lambda label, done, total: seen.append(done),
    )  # fmt: skip
    rest = run(again, progress)
    whole = run(*tables(tmp_path / "whole", ["max_shift"], **asked))
    assert differences(rest, whole) == []
    assert seen[0] > 0.3 * whole.records[0].judged  # type: ignore[attr-defined, operator]


def test_a_search_of_so_many_rows_finds_the_same(tmp_path: Path) -> None:
    asked = Search(
        dtypes=("float32",), classes=(2, 5), seconds=None, evaluations=2000, replay=False
    )

    def search(folder: str, scheduling: Scheduling | None) -> Run:
        return run(
            request_for(
                "worst-case", [load("max_shift")], asked, partial(worst_case_plan, asked=asked),
                seed=3, results=tmp_path / folder, machine="here", scheduling=scheduling,
            )
        )  # fmt: skip

    here, there = search("here", None), search("there", Scheduling("local:2"))
    assert differences(here, there) == []
    assert [r.status for r in here.records] == ["ok", "ok"]


def test_timings_are_refused(tmp_path: Path) -> None:
    profile = replace(PROFILES["smoke"], experiments=("accuracy", "throughput"))
    with pytest.raises(NothingToRun, match="throughput would be timed beside other work"):
        run(request(tmp_path, ["max_shift"], profile, scheduling=Scheduling("local:1")))


def test_who_kills_its_judge_ends_its_own_unit(tmp_path: Path, written: Make) -> None:
    profile = replace(PROFILE, experiments=("accuracy",), dtypes=("float32",))
    names = ["max_shift", written("lethal", LETHAL)]
    notes: list[str] = []
    there = run(
        request(tmp_path, names, profile, scheduling=Scheduling("local:2")),
        Progress(note=notes.append),
    )
    lethal = [r for r in there.records if r.classes == 17]
    assert {(r.status, str(r.reason)[:9]) for r in lethal} == {("crashed", "5 workers")}
    assert {r.status for r in there.records if r.classes != 17} == {"ok"}


def test_nothing_is_lost_when_workers_and_the_scheduler_are(tmp_path: Path) -> None:
    """Kills a worker, stops another for a while, then starts scheduler and workers anew."""
    profile = replace(PROFILE, sweep_classes=tuple(range(2, 60)), experiments=("accuracy",))
    here = run(request(tmp_path / "here", ["max_shift"], profile))
    events = threading.Semaphore(0)
    done = threading.Event()

    def heard(unit: object, records: object) -> None:
        events.release()

    with ExitStack() as stack:
        address, first = stack.enter_context(scheduler(tmp_path))
        workers = [stack.enter_context(worker(tmp_path, address)) for _ in range(2)]

        def disturb() -> None:
            for _ in range(5):
                events.acquire()
            workers[0].kill()
            workers.append(stack.enter_context(worker(tmp_path, address)))
            for _ in range(5):
                events.acquire()
            workers[1].send_signal(signal.SIGSTOP)
            time.sleep(1.0)
            workers[1].send_signal(signal.SIGCONT)
            for _ in range(5):
                events.acquire()
            first.kill()
            for one in workers:
                one.kill()
            stack.enter_context(scheduler(tmp_path, int(address.rpartition(":")[2])))
            stack.enter_context(worker(tmp_path, address))
            done.set()

        thread = threading.Thread(target=disturb, daemon=True)
        thread.start()
        there = run(
            request(tmp_path / "there", ["max_shift"], profile, scheduling=Scheduling(address)),
            Progress(finished=heard),
        )
        thread.join(60)
    assert done.is_set()
    assert differences(here, there) == []


@pytest.mark.parametrize("others", [False, True])
def test_workers_of_another_version_are_refused_or_recorded(
    tmp_path: Path, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = crews.identity
    monkeypatch.setattr(
        crews, "identity", lambda *given: {**own(*given), "numpy": "0.1", "architecture": "vax"}
    )
    profile = replace(PROFILE, experiments=("accuracy",), dtypes=("float32",))
    notes: list[str] = []
    wanted = request(
        tmp_path, ["max_shift"], profile, scheduling=Scheduling("local:1", others=others)
    )
    if not others:
        with pytest.raises(SchedulerError, match="no worker that can take part"):
            run(wanted, Progress(note=notes.append))
        (note,) = [n for n in notes if "refused" in n]
        assert f"numpy {np.__version__} is not 0.1" in note
        assert "is not vax" in note
        return
    there = run(wanted)
    assert {r.status for r in there.records} == {"ok"}
    differs = there.info.hosts["host 1"]["differs in"]
    assert [d.partition(" is not ")[2] for d in differs] == ["vax", "0.1"]


def test_workers_without_us_are_refused(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "harness"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('nothing of that name here')")
    notes: list[str] = []
    with ExitStack() as stack:
        address, _ = stack.enter_context(scheduler(tmp_path))
        stack.enter_context(worker(tmp_path, address, PYTHONPATH=str(hidden.parent)))
        wanted = request(tmp_path, ["max_shift"], scheduling=Scheduling(address))
        stack.enter_context(pytest.raises(SchedulerError, match="start one with: dask worker tcp:"))
        run(wanted, Progress(note=notes.append))
    assert any("cannot run softmax-bench" in n for n in notes)


def test_a_scheduler_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    scheduling = Scheduling("tcp://127.0.0.1:9")
    with pytest.raises(SchedulerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run(request(tmp_path, ["max_shift"], scheduling=scheduling))


def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    run(
        request(
            tmp_path, ["max_shift"], replace(PROFILE, experiments=("accuracy",)),
            filters=Filters(dtypes=("float32",)), scheduling=Scheduling("local:2"),
        )
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [
            p for p in psutil.Process().children(recursive=True)
            if p.pid not in before and "resource_tracker" not in " ".join(p.cmdline())
        ]  # fmt: skip
        if not left:
            break
        time.sleep(0.2)
    assert not left


def test_workers_that_plan_other_cells_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.experiments.scheduled.units.digest_of", lambda keys: "another")
    notes: list[str] = []
    wanted = request(tmp_path, ["max_shift"], scheduling=Scheduling("local:1"))
    with pytest.raises(SchedulerError, match="no worker that can take part"):
        run(wanted, Progress(note=notes.append))
    assert any("plans other cells" in note for note in notes)
    (folder,) = (tmp_path / "here").iterdir()
    assert read_run(folder).records == []


def test_a_coordinator_that_was_killed_goes_on(tmp_path: Path) -> None:
    """After SIGKILL nothing of it is left, and ``--resume`` gives the run of one machine."""
    command = [sys.executable, "-P", "-m", "harness", "run"]
    counts = [word for n in range(2, 80) for word in ("--classes", str(n))]
    asked = ["--profile", "smoke", "--experiment", "accuracy", "-i", "max_shift", *counts]
    asked += ["--dtype", "float32", "--machine", "here", "--no-report"]
    local = ["--scheduler", "local:2"]
    first = subprocess.Popen([*command, *asked, *local, "--results", str(tmp_path / "there")])
    deadline = time.monotonic() + 120
    cells = None
    while cells is None or cells.read_bytes().count(b"\n") < 5:
        assert time.monotonic() < deadline
        assert first.poll() is None
        cells = next((tmp_path / "there").glob("*/*/cells.jsonl"), None)
        time.sleep(0.02)
    below = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    assert psutil.wait_procs(below, timeout=60)[1] == []
    again = [*command, "--resume", str(cells.parent), "--no-report", *local]
    subprocess.run(again, check=True, stdout=subprocess.DEVNULL)
    alone = [*command, *asked, "--results", str(tmp_path / "here")]
    subprocess.run(alone, check=True, stdout=subprocess.DEVNULL)
    (here,) = (tmp_path / "here" / "here").iterdir()
    assert differences(read_run(here), read_run(cells.parent)) == []


def test_a_table_takes_time_from_its_first_share_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not while it waits for those before it."""
    now = [0.0]
    monkeypatch.setattr("harness.experiments.exhaustive.blocks.time.monotonic", lambda: now[0])
    blocks = Blocks(load("max_shift"), TripleSample("float16", blocks=4, rows=16))
    shared = _Shared(blocks, len(blocks.shares(4)))
    now[0] = 100.0
    assert _wanted(shared)
    now[0] = 130.0
    assert _wanted(shared)
    assert blocks.ended().elapsed_s == 30.0
