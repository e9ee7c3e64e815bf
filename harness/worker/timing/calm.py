"""Tells, by timing a fixed piece of arithmetic, whether a core is disturbed.

The piece should never change its time. What else runs on the same core, on the other thread of it
too, makes it longer, by up to two times, and no other sign of a neighbour's virtual machine is to
be had. On a shared machine the times of calls were within 2% of their least when the piece took
less than 1.1 times its own least, and 1.3 to 1.7 times as long when it took 1.4 times as long or
more (docs/notes/least-times.md).
"""

from __future__ import annotations

import os
import time
from collections import deque

import numpy as np

# Bound before any implementation is imported, which might put something else in its place.
_exp, _clock = np.exp, time.perf_counter_ns
_INPUT = np.linspace(-3.0, 3.0, 2048)
_OUTPUT = np.empty_like(_INPUT)
_TRIES = 3

FACTOR = 1.25
"""Times its least time that the piece may take on a core without neighbours."""
_SLOWEST = 2.0
_REMEMBERED_S = 60.0
"""How long a time is remembered: clocks change as a machine gets warm."""
_LEARN_S = 0.2


def probe_ns() -> int:
    """What the piece takes on the slowest of this thread's cores, of some tries the least."""
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        return _least()
    try:
        found = []
        for core in cores:
            os.sched_setaffinity(0, {core})
            found.append(_least())
        return max(found)
    finally:
        os.sched_setaffinity(0, cores)


def _least() -> int:
    found = []
    for _ in range(_TRIES):
        began = _clock()
        _exp(_INPUT, _OUTPUT)
        found.append(_clock() - began)
    return min(found)


class Calm:
    """What the piece takes on a core without neighbours, as far as was seen of late."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def learn(self) -> None:
        """Look for a while, from here."""
        ends = time.monotonic() + _LEARN_S
        while time.monotonic() < ends:
            self.saw(_least())

    def saw(self, ns: float) -> None:
        """Remember what it took just now."""
        now = time.monotonic()
        while self._seen and self._seen[-1][1] >= ns:
            self._seen.pop()  # older and no shorter: never the least again
        self._seen.append((now, ns))
        while self._seen[0][0] < now - _REMEMBERED_S:
            self._seen.popleft()

    @property
    def limit_ns(self) -> float:
        """What it takes at most on a core of one's own; 0 while nothing is known."""
        return FACTOR * self._seen[0][1] if self._seen else 0.0

    def slowed(self, ns: float) -> float:
        """How many times as slow a core is as a calm one, by what the piece took just now.

        Twice at most, as slow as a neighbour makes it: a probe in a stranger's process can be
        lengthened. 1 while nothing is known.
        """
        return min(max(1.0, ns / self._seen[0][1]), _SLOWEST) if self._seen else 1.0
