"""Several processes make a report: the same files, the same errors, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import report_run
from report_pages import contents

from harness.report import build_site, render
from harness.report.drawing.style import styles
from harness.report.run_data import RunData, from_run
from harness.report.site import Download, Site, SitePart

PATIENCE_S = 120.0


def until(true: Callable[[], object]) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


_OTHERS: list[psutil.Process] = []


@pytest.fixture(autouse=True)
def _others() -> None:
    """What earlier tests have left below this process is no helper."""
    _OTHERS[:] = psutil.Process().children()


def helpers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p not in _OTHERS]


@pytest.fixture(scope="module")
def run() -> report_run.SyntheticRun:
    """Every kind of figure, of two implementations and one format."""
    cells = [
        c
        for c in report_run.cells()
        if c["implementation"] in ("naive", "max_shift", "copy_regular") and c["dtype"] == "float32"
    ]
    return report_run.run(cells)


@pytest.fixture(scope="module")
def alone(run: report_run.SyntheticRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as one process makes it."""
    return build_site([run], tmp_path_factory.mktemp("alone") / "site", processes=1).parent


def data_of(run: report_run.SyntheticRun) -> RunData:
    return from_run(run, "")


def parts_of(run: report_run.SyntheticRun) -> list[SitePart]:
    return Site(Path(), [data_of(run)], {}).parts()


Ready = Callable[[psutil.Process, list[Path]], bool]


def when(monkeypatch: pytest.MonkeyPatch, ready: Ready) -> list[SitePart]:
    """This process waits with its first part for something of the helper and its parts' files.

    Returns:
        The parts that this process makes, as it makes them.
    """
    here: list[SitePart] = []
    make = Site.make

    def waiting(site: Site, part: SitePart) -> list[Download]:
        def now() -> bool:
            (folder,) = site.folder.parent.glob(f"{site.folder.name}-*")
            (helper,) = helpers()
            return ready(helper, [f for f in folder.iterdir() if f.name not in ("0", "site")])

        if not here:
            until(now)
        here.append(part)
        return make(site, part)

    monkeypatch.setattr(Site, "make", waiting)
    return here


def test_helpers_make_the_same_files(
    run: report_run.SyntheticRun, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = when(monkeypatch, lambda _, files: any(f.stat().st_size for f in files))
    site = build_site([run], tmp_path / "site", processes=2).parent
    assert 0 < len(here) < len(parts_of(run))
    assert contents(site) == contents(alone)
    assert helpers() == []
    assert list(tmp_path.iterdir()) == [site]


def test_what_a_killed_helper_leaves_is_made_here(
    run: report_run.SyntheticRun, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(helper: psutil.Process, files: list[Path]) -> bool:
        if files:
            helper.kill()
        return bool(files)

    here = when(monkeypatch, begun)
    site = build_site([run], tmp_path / "site", processes=2).parent
    assert sorted(here) == sorted(parts_of(run))
    assert contents(site) == contents(alone)


def test_what_fails_in_a_helper_is_told_here(
    run: report_run.SyntheticRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here = when(monkeypatch, lambda helper, _: helper.status() == psutil.STATUS_ZOMBIE)
    folder = tmp_path / "site"
    folder.mkdir()
    own = styles(name for name in data_of(run).implementations if name != "max_shift")
    with pytest.raises(KeyError, match="max_shift"):
        render.render(Site(folder, [data_of(run)], {"": own}), processes=2)
    assert len(here) > 1
    assert capfd.readouterr().err == ""
    assert helpers() == []
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(("cores", "parts_each", "started"), [(1, 1, 0), (3, 1, 2), (3, 99, 0)])
def test_no_more_processes_than_cores_and_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    parts_each: int,
    started: int,
) -> None:
    """They cannot be started here, and the report is made all the same."""
    asked = []

    def refuse(shared: Path) -> subprocess.Popen[bytes]:
        asked.append(shared)
        if len(asked) == 2:
            raise BlockingIOError("no more processes")
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(render, "PARTS_EACH", parts_each)
    monkeypatch.setattr(render, "_helper", refuse)
    build_site([report_run.run([])], tmp_path / "site")
    assert len(asked) == started


BUILD = """
import signal
import sys
from pathlib import Path
from report_run import small_run
from harness.report import build_site
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
build_site([small_run()], Path(sys.argv[1]), processes=2)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_build_ends_its_helpers(tmp_path: Path, sent: signal.Signals) -> None:
    """An interrupt goes to the whole group of processes, as from a terminal."""
    path = [*sys.path, str(Path(report_run.__file__).parent)]
    built = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(tmp_path / "site")], start_new_session=True,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    until(lambda: len(list(tmp_path.glob(".site-*/[0-9]*"))) >= 2)  # both are at work
    started = psutil.Process(built.pid).children()
    os.killpg(built.pid, sent)
    _, errors = built.communicate(timeout=PATIENCE_S)
    assert built.returncode == -sent
    assert len(started) == 1
    psutil.wait_procs(started, timeout=PATIENCE_S)
    assert not started[0].is_running()
    # One process says so; an exception that it was at handling would be told of before.
    assert errors.splitlines().count(b"KeyboardInterrupt") == (sent == signal.SIGINT)
    assert (b"Traceback" in errors) == (sent == signal.SIGINT)
    assert list(tmp_path.iterdir()) == [] or sent != signal.SIGINT
