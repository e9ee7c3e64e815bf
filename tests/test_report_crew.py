"""Parts of a report side by side: all are done, in order, whatever happens to a copy."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from harness.report.crew import crew_size, done

BEGIN = """
import json, os, signal
from harness.report.crew import done
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


def test_a_process_with_threads_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert crew_size(20) == 0


def test_without_a_crew_this_process_does_it() -> None:
    assert done([lambda: 1, lambda: 2], 0) == [1, 2]
