"""Makes one call in the middle of another, between its lines of Python.

Two threads that call freely meet at a bad moment once in a while. What is kept in memory that
calls share is found for certain where the other call is made whole at each line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_LINES = 32
_LOCKED_S = 0.05
"""A call that does not return for so long waits for a lock that the other holds."""


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
    locked = False

    def at(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal locked
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line" and len(calls) < _LINES and not locked:
            calls.append(other.submit(second))
            try:
                calls[-1].result(_LOCKED_S)
            except TimeoutError:
                locked = True
        return at

    with ThreadPoolExecutor(1) as other:
        sys.settrace(at)
        try:
            value = first()
        finally:
            sys.settrace(None)
    return value, [call.result() for call in calls]
