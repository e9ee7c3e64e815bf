"""Parts of a report side by side: all are done, in order, whatever happens to a copy."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from harness.report.parallel import crew_size, done
from harness.worker.isolation.subprocesses import STARTER

BEGIN = """
import json, os, signal
from harness.report.parallel import done
first = os.getpid()
"""


def told(script: str) -> Any:
    """What a script prints, in a process that has one thread and may be copied."""
    ran = subprocess.run(
        [sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    return json.loads(ran.stdout)


def test_results_come_in_order_and_from_copies() -> None:
    found = told(
        "parts = [lambda i=i: (i, os.getpid() != first) for i in range(20)]\n"
        "print(json.dumps(done(parts, 2)))"
    )
    assert found == [[i, True] for i in range(20)]


def test_a_failure_is_raised_here() -> None:
    found = told(
        "def full(): raise OSError(28, 'No space left on device')\n"
        "try: done([full, os.getpid], 2)\n"
        "except OSError as e: print(json.dumps([type(e).__name__, e.errno]))"
    )
    assert found == ["OSError", 28]


def test_what_a_killed_copy_leaves_is_done_here() -> None:
    found = told(
        "def mortal():\n"
        "    if os.getpid() != first: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 'done'\n"
        "print(json.dumps(done([mortal, mortal], 2)))"
    )
    assert found == ["done", "done"]


@pytest.mark.parametrize(("name", "size"), [("busy", 0), (STARTER, 2)])
def test_a_process_with_threads_is_not_copied(
    monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    """But for the thread that starts workers, which outlasts every run and waits."""
    threads = [threading.current_thread(), threading.Thread(name=name)]
    monkeypatch.setattr(threading, "enumerate", lambda: threads)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert crew_size(20) == size


def test_after_a_run_there_is_a_crew() -> None:
    script = (
        "from harness.worker.client import RemoteImplementation\n"
        "from harness.report.parallel import crew_size\n"
        "os.sched_getaffinity = lambda _: {0, 1}\n"
        "worker = RemoteImplementation('m', {'module': 'harness.text'})\n"
        "worker.request('release'); worker.stop()\n"
        "print(json.dumps(crew_size(9)))"
    )
    assert told(script) == 2


def test_without_a_crew_this_process_does_it() -> None:
    assert done([lambda: 1, lambda: 2], 0) == [1, 2]
