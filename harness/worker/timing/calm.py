"""Tells, by timing a fixed piece of arithmetic, whether a core is disturbed.

What else runs on the same core, on the other thread of it too, makes the piece longer, by up to
two times, and no other sign of a neighbour's virtual machine is to be had. Nothing else should: so
it is a power of an integer of 511 bits, which needs no memory to speak of. Of an exponential over
arrays the time differed by a seventh between processes, for where their arrays lay, and some
looked disturbed for as long as they lived. The power's is the same to 3% in all; it takes at most
1.15 times as long on a calm core and 1.25 to 1.6 times beside a neighbour
(docs/notes/least-times.md).
"""

from __future__ import annotations

import os
import time
from collections import deque

# Bound before any implementation is imported, which might put something else in its place.
_pow, _clock = pow, time.perf_counter_ns
_MODULUS = (1 << 511) + 0x1234567890ABCDEF1234567891
_BASE, _EXPONENT = _MODULUS // 3, 0b101101
_TRIES = 8
"""After a switch to another process the first ones find cold caches; from the fifth on they agree
to 2%."""

FACTOR = 1.2
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
        _pow(_BASE, _EXPONENT, _MODULUS)
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
