"""Rounds of visits: each entrant of a group is visited in turn, until its ratio is known.

A visit is a few samples in quick succession. Everyone is visited as often in the same while, so
that each has its chance of a moment in which nothing else disturbs it: the least time of such
moments is what is compared (`harness.numerics.statistics`). The mechanics alone: who takes part,
and what the times mean, is decided elsewhere.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic

from harness.experiments.profiles import DeviceTiming, Timing
from harness.experiments.throughput.entrants import E, control_among, doubt, end, living
from harness.worker.client import WorkerFault

_MOST = 4.0
"""Times its share of the group's time that one entrant may take: some are never decided."""


@dataclass
class Rounds(Generic[E]):
    """The entrants of a group and how they are visited.

    Attributes:
        group: all of them, the baseline among them.
        baseline: its name; without one, or when it and its control have ended, no ratio is known.
        test: done once to each implementation, before a visit that nobody can foretell (it is not
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
        """Prepare every entrant, then visit all until all are decided.

        That is looked at after `grid.rounds` rounds, and after each further one. An entrant is
        visited no more when its ratio is known to `grid.precision`, or when its time is over; none
        is when that of the group is, `grid.seconds` for each. The baseline and its control are
        visited to the end. Where several processes share the rounds, each takes `grid.rounds`.
        Visits that other work disturbs give no sample; who has fewer than `grid.rounds` when its
        time is over is visited anyway. A worker that dies takes down all its entrants, no other.
        """
        order = random.Random(self.seed)
        with self._spending("preparing"):
            for entrant in self.group:
                if entrant.fault is None and not entrant.ready:
                    self._attempt(entrant, lambda e: e.prepare(self.grid, self.timeout))
        waiting = [e for e in self.group if e.fault is None]
        left = self.grid.seconds * len(waiting)
        tested = {
            id(e): 1 + secrets.randbelow(max(1, int(self.grid.rounds) - 1))
            for e in waiting
            if self.test and e.implementation is not None
        }
        due = {id(e): e.visited + int(self.grid.rounds) for e in waiting}
        done = 0
        while waiting:
            for entrant in order.sample(waiting, len(waiting)):
                if tested.get(id(entrant)) == done and entrant.fault is None:
                    with self._spending("tests of integrity"):
                        self._attempt(entrant, lambda e: e.await_calm(self.timeout))
                        self._attempt(entrant, self.test)  # type: ignore[arg-type]
                left -= self._visit(entrant)
            done += 1
            if done >= self.grid.rounds:
                if left <= 0.0:
                    break
                lacking = [e for e in waiting if e.fault is None and e.visited < due[id(e)]]
                several = processes_of(self.grid) > 1
                waiting = lacking if several else self._undecided(lacking)
        for entrant in self.group:
            while entrant.fault is None and entrant.visited < due.get(id(entrant), 0):
                entrant.anyway += 1
                self._visit(entrant, anyway=True)

    def _visit(self, entrant: E, *, anyway: bool = False) -> float:
        """The seconds that it took; none of one that has ended."""
        if entrant.fault is not None:
            return 0.0
        with self._spending("visits"):
            began = time.perf_counter()
            self._attempt(entrant, lambda e: e.visit(self.timeout, anyway=anyway))
            took = time.perf_counter() - began
        entrant.seconds += took
        return took

    def _undecided(self, lacking: Sequence[E]) -> list[E]:
        """Whose ratio is not known well enough; with them the baseline and its control.

        Args:
            lacking: who has too few visits for any ratio to be trusted.
        """
        its = living(self.group, self.baseline)
        if its is None:
            return []
        control = control_among(self.group)
        wanted = math.log1p(self.grid.precision)
        enough = max(wanted - doubt(self.group, its), wanted / 2.0)
        most = _MOST * self.grid.seconds
        found = [
            e
            for e in self.group
            if e is not its and e.fault is None and e.seconds < most
            and (e in lacking or its in lacking or e.ratio_to(its).half_width > enough)
        ]  # fmt: skip
        beside = [e for e in (its, control) if e is not None and e not in found]
        return [*found, *beside] if found else []

    @contextmanager
    def _spending(self, on: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[on] += time.perf_counter() - began

    def _attempt(self, entrant: E, step: Callable[[E], None]) -> None:
        """Do a step of an entrant; a fault ends it, and whoever shares its worker."""
        try:
            step(entrant)
        except WorkerFault as fault:
            end([e for e in self.group if e.worker is entrant.worker], fault)


def processes_of(grid: Timing | DeviceTiming) -> int:
    """How many processes of each entrant share the rounds."""
    return grid.processes if isinstance(grid, Timing) else 1
