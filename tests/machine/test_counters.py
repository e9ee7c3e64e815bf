"""Hardware counters: what they count, and what is said where there are none."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.machine import counters

CLOCK = {"task_clock": (1, 1)}
"""A counter of the kernel's own, which every machine has: nanoseconds on a processor."""


def busy(seconds: float) -> None:
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass


def counted(work: Any) -> int:
    try:
        return counters.count(work, CLOCK)["task_clock"]
    except OSError as e:
        pytest.skip(f"perf_event_open is not allowed here: {e}")


def test_what_a_thread_does_is_counted() -> None:
    assert counted(lambda: busy(0.05)) >= 45e6
    assert counted(lambda: time.sleep(0.05)) < 40e6


def test_what_other_threads_do_meanwhile_is_counted_too() -> None:
    go, over = threading.Event(), threading.Event()

    def other() -> None:
        go.wait()
        busy(0.05)
        over.set()

    thread = threading.Thread(target=other)
    thread.start()

    def work() -> None:
        go.set()
        over.wait()

    try:
        assert counted(work) >= 45e6
    finally:
        go.set()
        thread.join()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "perf_event_paranoid"),
        (errno.EPERM, "seccomp"),
        (errno.ENOENT, "passes none on"),
        (errno.ENOSYS, "has no perf_event_open"),
    ],
)
def test_where_there_are_none_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(counters, "_open", refuse)
    assert words in str(counters.unavailable.__wrapped__())


def test_where_there_are_some_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(counters, "_open", lambda *_: os.open(tmp_path, os.O_RDONLY))
    assert counters.unavailable.__wrapped__() is None
