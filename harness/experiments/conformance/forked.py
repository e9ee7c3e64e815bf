"""Work in a forked child, and what became of it: an answer, a crash, or a hang."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            for function in work:
                _send(write, pickle.dumps(function()))
        finally:  # whatever happened: this copy of the process must not go on
            os._exit(1)
    os.close(write)
    try:
        raw, hung = _received(read, child)
    finally:
        os.close(read)
    os.kill(child, signal.SIGKILL)  # it has nothing more to say, if it is there at all
    _, status = os.waitpid(child, 0)
    answers = _unpickled(raw)[: len(work)]
    if len(answers) < len(work):
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if hung:
            text = f"{CHILD} hangs: {hung}"
        elif killed and killed != signal.SIGKILL:
            text = f"{CHILD} was killed by {signal.Signals(killed).name}"
        else:
            text = f"{CHILD} ended without an answer"
        answers += [text] * (len(work) - len(answers))
    return answers


def _send(write: int, data: bytes) -> None:
    data = len(data).to_bytes(8, "little") + data
    while data:
        data = data[os.write(write, data) :]


def _received(read: int, child: int) -> tuple[bytes, str | None]:
    """All that the child wrote until it ended, and how it hangs if it does."""
    parts: list[bytes] = []
    began = moved = time.monotonic()
    used = 0
    while True:
        if select.select([read], [], [], _POLL_S)[0]:
            part = os.read(read, 1 << 20)
            if not part:
                return b"".join(parts), None
            parts.append(part)
            moved = time.monotonic()
            continue
        now, before = time.monotonic(), used
        state, used = _activity(child)
        if state == "R" or used != before:
            moved = now
        if now - moved > STILL_S:
            return b"".join(parts), f"it has waited for {STILL_S:g} s"
        if now - began > LONGEST_S:
            return b"".join(parts), f"no answer within {LONGEST_S:g} s"


def _activity(child: int) -> tuple[str, int]:
    """Whether any thread of the process runs or wants to (R); the processor time that it had."""
    state, used = "S", 0
    try:
        for task in Path(f"/proc/{child}/task").iterdir():
            fields = (task / "stat").read_bytes().rpartition(b")")[2].split()
            state = "R" if fields[0] == b"R" else state
            used += int(fields[11]) + int(fields[12])
    except OSError:  # it has just ended
        pass
    return state, used


def _unpickled(raw: bytes) -> list[Any]:
    answers: list[Any] = []
    while len(raw) >= 8:
        length = int.from_bytes(raw[:8], "little")
        if len(raw) < 8 + length:
            break
        answers.append(pickle.loads(raw[8 : 8 + length]))
        raw = raw[8 + length :]
    return answers
