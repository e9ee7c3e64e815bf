"""Reads how long threads ran, and how long they waited for a processor, from Linux's schedstat.

A limit of time that passes on a crowded machine says little of the one who was given it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

Turns = Mapping[str, tuple[int, int, int]]
"""Of each thread: ns on a processor, ns of waiting for one, and how often it was given one."""


@dataclass(frozen=True)
class Share:
    """What the thread that wanted most had in a while.

    Attributes:
        ran_s, waited_s: seconds on a processor, and of waiting for one; 0 where nobody tells.
    """

    ran_s: float = 0.0
    waited_s: float = 0.0


def turns(process: int | str) -> Turns:
    """Of every thread of the process so far; empty where the system does not tell."""
    found: dict[str, tuple[int, int, int]] = {}
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with suppress(OSError), open(f"/proc/{process}/task/{thread}/schedstat", "rb") as file:
                ran, waited, times = map(int, file.read().split()[:3])
                found[thread] = ran, waited, times
    return found


class Waits:
    """For how long a call has to wait for processors: this thread, and on several cores others.

    Looked at just before and just after what is timed: little else is waited for then. Of the other
    threads the one counts that waits longest, since they wait side by side.

    Attributes:
        ns: nanoseconds from the beginning to the end; 0 where nobody tells.
    """

    ns = 0

    def __enter__(self) -> Self:
        self._files: list[int] = []
        own = str(threading.get_native_id())
        with suppress(OSError):
            alone = len(os.sched_getaffinity(0)) == 1
            others = [] if alone else [t for t in os.listdir("/proc/self/task") if t != own]
            for thread in (*others, own):
                with suppress(OSError):
                    self._files.append(os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY))
        self._before = [_look(file) for file in self._files]
        return self

    def __exit__(self, *_: object) -> None:
        after = [_look(file) for file in reversed(self._files)]
        for file in self._files:
            os.close(file)
        both = zip(reversed(self._before), after, strict=True)  # its own first
        waited = [int(b.split()[1]) - int(a.split()[1]) if a and b else 0 for a, b in both]
        self.ns = sum(waited[:1]) + max(waited[1:], default=0)


def _look(file: int) -> bytes:
    """Nothing of a thread that has ended."""
    try:
        return os.pread(file, 96, 0)
    except OSError:
        return b""


def share(pid: int, before: Turns) -> Share:
    """Since `before`, of the thread that ran and waited longest."""
    since = []
    for thread, (ran, waited, _) in turns(pid).items():
        ran_before, waited_before, _ = before.get(thread, (0, 0, 0))
        since.append((ran - ran_before, waited - waited_before))
    ran, waited = max(since, key=sum, default=(0, 0))
    return Share(ran * 1e-9, waited * 1e-9)


def others() -> Turns:
    """`turns` of the other threads of this process."""
    own = str(threading.get_native_id())
    return {thread: had for thread, had in turns("self").items() if thread != own}


def helped(before: Turns, calls: int, elapsed_ns: float) -> bool:
    """Whether another thread took part in so many calls since `before`, a result of `others`.

    It was woken in every second call, or it never slept in between and had a tenth of the time.
    How many processors were used does not tell: two threads may have shared one.
    """
    for thread, (ran, _, times) in others().items():
        ran_before, _, times_before = before.get(thread, (0, 0, 0))
        if 2 * (times - times_before) >= calls or 10 * (ran - ran_before) >= elapsed_ns:
            return True
    return False


def waited(*tasks: int | str | None) -> float:
    """Seconds for which threads waited for a processor so far, by their names in /proc."""
    total = 0
    for task in tasks:
        with suppress(OSError), open(f"/proc/{task}/schedstat", "rb") as file:
            total += int(file.read().split()[1])
    return total * 1e-9


_CROWDED = 0.25
"""Part of the time that was spent in waiting. A process that had three quarters of it and still did
not answer would hardly have done so with the rest."""
_MOST_LONGER, _ROOM = 4.0, 1.25
"""A limit grows at most so many times, so that a hang is told on a crowded machine, too; and by a
quarter more than was waited, since the waiting goes on."""


def crowded(had: Share, limit_s: float) -> bool:
    """Whether a limit that passed was the machine's doing: so much of it was spent in waiting.

    One that sleeps or is deadlocked waits for no processor, and is told at once.
    """
    return had.waited_s > _CROWDED * max(limit_s, had.ran_s + had.waited_s)


def longer(had: Share) -> float:
    """How many times its limit one needs who had this share: what it waited, and some more."""
    return min(_ROOM * (had.ran_s + had.waited_s) / max(had.ran_s, 1e-9), _MOST_LONGER)
