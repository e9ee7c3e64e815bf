"""Work in a forked child, and what became of it: an answer, a crash, or a hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from harness.worker.isolation.activity import tasks

CHILD = "the forked child"
"""With which every text begins that stands in place of an answer."""
STILL_S = 2.0
"""A child that neither runs nor waits for a processor for so long hangs."""
LONGEST_S = 20.0
_POLL_S = 0.1


def in_a_child(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each function returns in one forked child, which calls them in order.

    Where the child crashes or hangs, the answer of that function and of those after it is a
    text that says so. They must not raise, and what they return must be fit for pickle.
    """
    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    child = fork.Process(target=_answer, args=(work, sending))
    child.start()
    sending.close()
    with receiving:
        answers, hung = _received(receiving, str(child.pid))
    child.kill()  # it has nothing more to say, if it is there at all
    child.join()
    killed = -min(child.exitcode or 0, 0)
    if hung:
        text = f"{CHILD} hangs: {hung}"
    elif killed and killed != signal.SIGKILL:
        text = f"{CHILD} was killed by {signal.Signals(killed).name}"
    else:
        text = f"{CHILD} ended without an answer"
    return answers + [text] * (len(work) - len(answers))


def _answer(work: Sequence[Callable[[], Any]], sending: Connection) -> None:
    try:
        for function in work:
            sending.send(function())
    finally:  # whatever happened: this copy of the process must not go on
        os._exit(1)


def _received(receiving: Connection, child: str) -> tuple[list[Any], str | None]:
    """All that the child answered until it ended, and how it hangs if it does."""
    answers: list[Any] = []
    began = moved = time.monotonic()
    used = 0
    while True:
        if receiving.poll(_POLL_S):
            try:
                answers.append(receiving.recv())
            except (EOFError, OSError):
                return answers, None
            moved = time.monotonic()
            continue
        now, before, threads = time.monotonic(), used, tasks(child).values()
        used = sum(had for _, had in threads)
        if used != before or any(running for running, _ in threads):
            moved = now
        if now - moved > STILL_S:
            return answers, f"it has waited for {STILL_S:g} s"
        if now - began > LONGEST_S:
            return answers, f"no answer within {LONGEST_S:g} s"
