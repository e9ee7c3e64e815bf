"""Turns signals that end a run into an interrupt, so that what was measured is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible(before: Callable[[], None]) -> Iterator[None]:
    """Within it, Ctrl-C, SIGTERM and SIGHUP call `before` and raise `KeyboardInterrupt`.

    Args:
        before: called first; it ends what other threads wait for. At a second signal it is not.

    Outside of the main thread nothing is changed: signals do not arrive there. An ignored signal
    (``nohup``) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal interrupted
        first, interrupted = not interrupted, True
        if first:
            before()
        raise KeyboardInterrupt(signal.Signals(number).name)

    replaced: dict[signal.Signals, Any] = {}
    try:
        for number in ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                replaced[number] = signal.signal(number, handle)
        yield
    finally:
        for number, former in replaced.items():
            signal.signal(number, former)
