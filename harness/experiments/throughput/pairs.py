"""Pairs of samples: each entrant in turn with the baseline, sample by sample, until it is decided.

What slows a machine for milliseconds or minutes slows two neighbouring samples alike, so that their
ratio is known far better than either time. The mechanics alone: who takes part, and what the times
mean, is decided elsewhere.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic

from harness.experiments.profiles import DeviceTiming, Timing
from harness.experiments.throughput.entrants import LOOKS, E, end, living
from harness.worker.client import WorkerFault

_LONGEST_BLOCK_NS = 50e6
"""Where one spins on after a sample, several are taken a turn, so that the wait for it is shared:
of this length at most."""

_HOPE = 3
"""Looks after which none follows where far more time would be needed than there is."""

SHARE = 0.6
"""Of the precision that is wanted: the rest is for what two processes differ by."""


class _Ended(Exception):
    """One of two that take turns has ended."""


@dataclass
class Pairing(Generic[E]):
    """The entrants of a group and how they take turns.

    Attributes:
        group: all of them, the baseline among them.
        baseline: its name; without one, or when it and its control have ended, the others are
            sampled alone.
        test: done once to each implementation, before a sample that nobody can foretell (it is not
            drawn from the seed), though not before its first.
        seconds: where the time went, by what was done.
    """

    group: Sequence[E]
    baseline: str | None
    grid: Any
    timeout: float
    seed: str
    test: Callable[[E], None] | None = None
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def take(self) -> None:
        """Prepare every entrant, then take pairs of each with the baseline until all are decided.

        The first look at an entrant is after `grid.pairs` pairs, and each further one after as
        many again, up to `LOOKS`; none follows when its ratio is known to `grid.precision`, or when
        the time of the group is over, `grid.seconds` for each. Where several processes share the
        pairs, each takes `grid.pairs`. A worker that dies takes down all its entrants, no other.
        """
        order = random.Random(self.seed)
        with self._spending("preparing"):
            self._prepare()
        baseline = living(self.group, self.baseline)
        waiting = [e for e in self.group if e is not baseline and e.fault is None]
        if not waiting and baseline is not None:
            waiting = [baseline]  # alone
        beside = secrets.choice(waiting) if waiting else None  # whom the baseline is tested beside
        left = self.grid.seconds * len(waiting)
        untested = {id(e) for e in self.group if self.test and e.implementation is not None}
        first = True
        while waiting:
            for mine in list(waiting):
                its = living(self.group, self.baseline)
                its = None if its is mine else its
                count = int(self.grid.pairs) if first else self._more(mine, left)
                both = [mine] if its is None or mine is not beside else [mine, its]
                tested = [e for e in both if id(e) in untested]
                before = mine.seconds
                try:
                    early = 1 + secrets.randbelow(count - 1) if tested and count > 1 else 0
                    self._pairs(mine, its, early, order)
                    with self._spending("tests of integrity"):
                        for one in tested:
                            self._attempt(one, lambda e=one: self.test(e))  # type: ignore[misc]
                            untested.discard(id(one))
                    self._pairs(mine, its, count - early, order)
                except _Ended:
                    if mine.fault is not None:
                        waiting.remove(mine)
                    continue
                left -= mine.seconds - before
                mine.looks += 1
                if its is None or self._enough(mine, left):
                    waiting.remove(mine)
            first = False

    @contextmanager
    def _spending(self, on: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[on] += time.perf_counter() - began

    def _more(self, mine: E, left: float) -> int:
        """How many further pairs to take: as many as there are, as far as time is left."""
        had = max(1, len(mine.beside))
        return max(1, min(had, int(left / max(mine.seconds / had, 1e-9))))

    def _enough(self, mine: E, left: float) -> bool:
        if processes_of(self.grid) > 1 or mine.looks >= LOOKS or left <= 0.0:
            return True
        ratio = mine.ratio
        if ratio is None or ratio.within(SHARE * self.grid.precision):
            return True
        target = SHARE * math.log1p(self.grid.precision)
        needed = mine.seconds * ((ratio.half_width / target) ** 2 - 1.0)
        return mine.looks >= _HOPE and needed > LOOKS * self.grid.seconds

    def _prepare(self) -> None:
        for entrant in self.group:
            if entrant.fault is None and not entrant.ready:
                with suppress(_Ended):
                    self._attempt(entrant, lambda e=entrant: e.prepare(self.grid, self.timeout))  # type: ignore[misc]
                    entrant.rest()
                    entrant.ready = True

    def _attempt(self, entrant: E, step: Callable[[], None]) -> None:
        """Do a step of an entrant; a fault ends it, and whoever shares its worker.

        Raises:
            _Ended: it had a fault.
        """
        try:
            step()
        except WorkerFault as fault:
            end([e for e in self.group if e.worker is entrant.worker], fault)
            raise _Ended from None

    def _pairs(self, mine: E, its: E | None, count: int, order: random.Random) -> None:
        """So many pairs of samples of one and the baseline; which of them comes first is drawn."""
        if not count:
            return
        sides = [mine] if its is None else [mine, its]
        spinning = 1e9 * max(s.rests for s in sides)
        began = time.perf_counter()
        opened: list[E] = []
        try:
            for side in sides:
                self._attempt(side, lambda s=side: s.open(self.grid, self.timeout))  # type: ignore[misc]
                opened.append(side)
            while count:
                block = 1
                if spinning and mine.samples:
                    sample = max(1.0, mine.samples[-1] * mine.calls)
                    block = min(count, math.ceil(min(spinning, _LONGEST_BLOCK_NS) / sample))
                for side in order.sample(sides, len(sides)):
                    for _ in range(block):
                        self._attempt(side, side.take)
                    side.rest()
                if its is not None:
                    mine.beside += its.samples[-block:]
                count -= block
        finally:
            if its is not None:
                mine.forget(len(mine.beside))  # what has nothing beside it
            for side in opened:
                if side.fault is None:
                    with suppress(_Ended):
                        self._attempt(side, side.close)
            took = time.perf_counter() - began
            mine.seconds += took
            self.seconds["pairs"] += took
        if any(side.fault is not None for side in sides):
            raise _Ended


def processes_of(grid: Timing | DeviceTiming) -> int:
    """How many processes of each entrant share the pairs."""
    return grid.processes if isinstance(grid, Timing) else 1
