"""What an implementation starts ends with it, and with the coordinator, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import MakeWorker, X, call, fault_of, source, workers

from harness.worker.isolation import reaper, subprocesses
from harness.worker.isolation.reaper import TOKEN_VARIABLE

make_worker = pytest.fixture(workers, name="make_worker")

WAITS = "import os, time; open({told!r}, 'w').write(str(os.getpid())); time.sleep(600)"

# what it starts, as statements that run WAITS in `code`, a program of Python
STARTS = {
    "a program": "subprocess.Popen([python, '-c', code])",
    "a program in another session": (
        "subprocess.Popen([python, '-c', code], start_new_session=True)"
    ),
    "a program without our environment": "subprocess.Popen([python, '-c', code], env={})",
    "a program of a program": (
        "subprocess.Popen(['sh', '-c', '\"$0\" -c \"$1\" & wait', python, code])"
    ),
    "a program in its own place": "os.execve(python, [python, '-c', code], {})",
}
DAEMON = (
    "subprocess.Popen(['sh', '-c', 'setsid \"$0\" -c \"$1\" &', python, code], env={}, "
    "start_new_session=True).wait()"
)


def starting(how: str, told: Path) -> str:
    code = WAITS.format(told=f"{told}")
    return f"import subprocess\npython, code = {sys.executable!r}, {code!r}\n{how}\n"


def told_pid(told: Path) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if told.exists() and (text := told.read_text(encoding="utf-8")):
            return int(text)
        time.sleep(0.02)
    raise AssertionError("it was never started")


def ended(pid: int) -> bool:
    """Whether a process is gone, given a moment."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return True
        if state[0] in "ZX":
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Path]:
    """Where a started process tells its number; it is ended whatever the test finds."""
    path = tmp_path / "told"
    yield path
    if path.exists() and (text := path.read_text(encoding="utf-8")) and not ended(int(text)):
        os.kill(int(text), signal.SIGKILL)


COORDINATOR = """
import sys
import numpy as np
from harness.worker.client import RemoteImplementation
worker = RemoteImplementation("subject", {"path": sys.argv[1]})
worker.request("threads", {"count": 1})
worker.request("run", {"operation": "softmax"}, (np.ones((2, 3), np.float32),), timeout=600.0)
"""


@pytest.mark.parametrize("how", STARTS)
def test_a_kill_of_the_coordinator_ends_what_an_implementation_started(
    tmp_path: Path, told: Path, how: str
) -> None:
    path = tmp_path / "subject.py"
    path.write_text(source(starting(STARTS[how], told) + "time.sleep(600)"), encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", COORDINATOR, str(path)])
    try:
        pid = told_pid(told)
    finally:
        process.kill()
        process.wait()
    assert ended(pid)


@pytest.mark.parametrize("how", [*STARTS.values(), DAEMON], ids=[*STARTS, "a daemon"])
def test_the_end_of_a_worker_ends_what_it_started(
    make_worker: MakeWorker, told: Path, how: str
) -> None:
    worker = make_worker(starting(how, told) + "time.sleep(600)")
    worker.request("threads", {"count": 1})
    assert fault_of(worker, timeout=3.0).status in ("timeout", "crashed")
    assert ended(told_pid(told))


def test_a_daemon_that_detached_itself_is_seen(make_worker: MakeWorker, told: Path) -> None:
    until = f"while not os.path.exists({str(told)!r}): time.sleep(0.01)\n"
    worker = make_worker(starting(DAEMON, told) + until + "return x * 1")
    call(worker)
    assert worker.keeps == "1 child process"
    worker.stop()
    assert ended(told_pid(told))


def test_a_reaper_that_was_killed_is_replaced(make_worker: MakeWorker) -> None:
    worker = make_worker("return x * 2")
    call(worker)
    first = subprocesses._survivor._process
    assert first is not None
    first.kill()
    first.wait()
    worker.stop()
    assert (call(worker) == 2 * X).all()
    second = subprocesses._survivor._process
    assert second is not None
    assert second.pid != first.pid
    assert second.poll() is None


def test_the_reaper_goes_with_the_coordinator(tmp_path: Path) -> None:
    path = tmp_path / "subject.py"
    path.write_text(source("return x * 1"), encoding="utf-8")
    code = (
        COORDINATOR
        + "from harness.worker.isolation import subprocesses\n"
        + "print(subprocesses._survivor._process.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ended(int(done.stdout))


def test_a_coordinator_that_ends_by_itself_leaves_nothing_of_a_worker(
    tmp_path: Path, told: Path
) -> None:
    """Workers end after what `atexit` does: what they started is found below them alone."""
    how = "subprocess.Popen([python, '-c', code], env={}, start_new_session=True)"
    until = f"while not os.path.exists({str(told)!r}): time.sleep(0.01)\n"
    path = tmp_path / "subject.py"
    path.write_text(source(starting(how, told) + until + "return x * 1"), encoding="utf-8")
    subprocess.run([sys.executable, "-c", COORDINATOR, str(path)], check=True)
    assert ended(told_pid(told))


def test_a_fork_of_the_coordinator_neither_holds_nor_ends_its_reaper(
    make_worker: MakeWorker,
) -> None:
    call(make_worker("return x * 1"))
    mine = subprocesses._survivor._process
    assert mine is not None
    pid = os.fork()
    if pid == 0:
        forgotten = subprocesses._survivor._process is None
        closed = mine.stdin is not None and mine.stdin.closed
        os._exit(0 if forgotten and closed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert mine.poll() is None


def test_the_reaper_kills_what_it_was_told_of_and_nothing_else(told: Path) -> None:
    token = f"/test-{os.getpid()}-{time.monotonic_ns()}"
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    kinds = {"named": f"{token}/a", "forgotten": f"{token}/b", "below": f"{token}/a/c"}
    made = {
        kind: subprocess.Popen(sleep, env={**os.environ, TOKEN_VARIABLE: mark})
        for kind, mark in kinds.items()
    }
    made["session"] = subprocess.Popen(sleep, start_new_session=True, env={})
    try:
        lines = f"+{token}/a\n+{token}/b\n-{token}/b\n+{made['session'].pid}\n+{made['below'].pid}0"
        subprocess.run(
            [sys.executable, "-I", "-S", reaper.__file__], input=lines.encode(), check=True
        )
        assert {kind: ended(p.pid) for kind, p in made.items() if kind != "forgotten"} == {
            "named": True, "below": True, "session": True,
        }  # fmt: skip
        assert made["forgotten"].poll() is None
    finally:
        for process in made.values():
            process.kill()
            process.wait()
