"""Makes one call in the middle of another, between its lines of Python.

Two threads that call freely meet at a bad moment once in a while. What is kept in memory that
calls share is found for certain where the other call is made whole at each line.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from types import FrameType
from typing import Any, TypeVar

from harness.worker.isolation.activity import tasks

T = TypeVar("T")

_LINES, _LINES_S = 32, 0.1
"""At most so many lines, or for so long; four at least."""
_POLL_S = 0.05
_POLLS = 20


def folder_of(function: Callable[..., Any]) -> str | None:
    """The folder of the module that a function is of, None if it has no file."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    return None if file is None else os.path.dirname(file) + os.sep


def between_lines(
    first: Callable[[], T], second: Callable[[], T], folder: str
) -> tuple[T, list[T]]:
    """Calls `first` in this thread, and `second` in another before each of its first lines.

    Args:
        folder: lines of files in it are meant.

    Returns:
        What `first` returned, and what each call of `second` did.
    """
    calls: list[Future[T]] = []
    began = time.perf_counter()

    def at(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line":
            calls.append(other.submit(second))
            locked = _waits(calls[-1], thread)
            late = len(calls) >= 4 and time.perf_counter() - began > _LINES_S
            if locked or late or len(calls) == _LINES:
                sys.settrace(None)
        return at

    with ThreadPoolExecutor(1) as other:
        thread = other.submit(threading.get_native_id).result()
        sys.settrace(at)
        try:
            value = first()
        finally:
            sys.settrace(None)
    return value, [call.result() for call in calls]


def _waits(call: Future[Any], thread: int) -> bool:
    """Whether a call does not return: its thread waits, as for a lock that the other one holds."""
    asleep = 0
    for _ in range(_POLLS):
        try:
            call.result(_POLL_S)
        except TimeoutError:
            running, _ = tasks("self").get(thread, (True, 0))
            asleep = 0 if running else asleep + 1
            if asleep == 2:
                return True
        else:
            return False
    return True
