"""Parts of a report drawn side by side, by copies of this process.

A part writes files of its own and returns something small. Copies share what has been read and
prepared; nothing but the number of a part and its result is sent.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from harness.worker.isolation.subprocesses import STARTER

T = TypeVar("T")
_parts: Sequence[Callable[[], Any]] = ()


def crew_size(parts: int) -> int:
    """How many copies to make: one a usable processor; none where a copy could hang or help none.

    A thread of this process may hold a lock, which a copy would wait for without end.
    """
    busy = [t for t in threading.enumerate() if t.name != STARTER]
    if sys.platform != "linux" or len(busy) > 1:
        return 0
    size = min(len(os.sched_getaffinity(0)), parts)
    return size if size > 1 else 0


def done(parts: Sequence[Callable[[], T]], size: int | None = None) -> list[T]:
    """The results of all parts, in their order.

    Args:
        size: how many copies; by default `crew_size`. With 0 this process does it all.

    Raises:
        Whatever a part raises.
    """
    global _parts
    size = crew_size(len(parts)) if size is None else size
    if size == 0:
        return [part() for part in parts]
    _parts = parts
    try:
        with (
            warnings.catch_warnings(),
            ProcessPoolExecutor(size, get_context("fork"), _deaf) as crew,
        ):
            # Of Python 3.12 and later, for any thread; see `crew_size`
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                return list(crew.map(_do, range(len(parts))))
            except BaseException:
                crew.shutdown(wait=True, cancel_futures=True)
                raise
    except BrokenProcessPool:  # a copy was killed, for its memory perhaps: one at a time then
        return [part() for part in parts]
    finally:
        _parts = ()


def _deaf() -> None:
    """Leave an interrupt to the process that waits: it ends the crew."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _do(number: int) -> Any:
    return _parts[number]()
