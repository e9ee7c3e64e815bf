"""Finds and kills what a worker started; as a program, does so when the coordinator is gone.

Run as ``python -I -S reaper.py`` by `subprocesses`, beside the coordinator and in a session of
its own. Its standard input is a pipe of which the coordinator holds the other end, and says there
which workers there are: when that end is closed, however the coordinator ended, whatever they left
is killed. The kernel kills the workers themselves (`resource_limits`), but not a program that
one of them started.

It is a small process: nothing is imported but parts of Python's own library.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Collection

TOKEN_VARIABLE = "SOFTMAX_BENCH_WORKER"
_ROUNDS = 5
_LOOK_S = 2.0


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def bearers(*tokens: str) -> list[int]:
    """Processes whose environment has one of the tokens, those of workers of theirs included."""
    wanted = [f"{TOKEN_VARIABLE}={token}".encode() for token in tokens]
    found = []
    for pid in _processes() if wanted else ():
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            variables = _read(f"/proc/{pid}/environ").split(b"\0")
            if any(v == w or v.startswith(w + b"/") for v in variables for w in wanted):
                found.append(pid)
    return found


def _relations() -> dict[int, tuple[int, int]]:
    """(parent, session) of every process that is no zombie."""
    found = {}
    for pid in _processes():
        with contextlib.suppress(OSError):
            state, parent, _, session, *_ = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            if state not in (b"Z", b"X"):
                found[pid] = int(parent), int(session)
    return found


def relatives(leaders: Collection[int]) -> list[int]:
    """The sessions of `leaders`, and all that is below them, in whatever session."""
    relations = _relations() if leaders else {}
    # A leader is one as long as its session is its own: else it has ended, and the number is
    # another's by now
    found = {pid for pid, (_, session) in relations.items() if session in leaders}
    while more := {p for p, (parent, _) in relations.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def kill_all(tokens: Collection[str], leaders: Collection[int]) -> None:
    """SIGKILL to what bears a token, to the sessions of `leaders` and to what is below them.

    The leaders are stopped first, so that they start nothing new, and killed last: what they
    started is found below them for as long as they live (`resource_limits`).
    """
    last = set(relatives(leaders)) & set(leaders)
    for pid in last:
        _signal(pid, signal.SIGSTOP)
    for _ in range(_ROUNDS):  # one may fork while we look
        strays = {*bearers(*tokens), *relatives(leaders)} - {*last, os.getpid()}
        for pid in strays:
            _signal(pid, signal.SIGKILL)
        if not strays:
            break
    for pid in last:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def main() -> None:
    """Wait until the coordinator is gone, then kill what its workers left.

    It tells a line at a time what there is and what is no more: ``+TOKEN`` and ``-TOKEN``, ``+PID``
    and ``-PID`` of each worker.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent, known, rest = os.getppid(), set[str](), ""
    while os.getppid() == parent:  # a copy of it may hold the other end of the pipe
        if select.select([0], [], [], _LOOK_S)[0]:
            data = os.read(0, 4096)
            if not data:
                break
            *lines, rest = (rest + data.decode(errors="replace")).split("\n")
            for line in lines:
                (known.add if line[:1] == "+" else known.discard)(line[1:])
    leaders = {int(name) for name in known if name.isdecimal()}
    kill_all([name for name in known if name and not name.isdecimal()], leaders)


if __name__ == "__main__":
    main()
