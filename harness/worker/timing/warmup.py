"""The warm-up of a timing, which detects its own end.

A compiled function gets faster over its first calls: code and data come into the caches, threads
start, the clock rises, a second compiler replaces what the first one made. How long that takes
nobody knows beforehand, so it is watched: calls are timed in batches of at least a millisecond,
and the warm-up is over when three batches in a row brought no new best by more than 2%. A cap
bounds it; that it was reached while calls were still getting faster is told, not hidden. A call
that takes a tenth of the time of all before begins it again: those compiled, or started something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BATCH_NS = 1_000_000
"""Interruptions of microseconds then change the time of a batch by less than `GAIN`."""
STALLS = 3
"""One batch without a gain may have been disturbed; three in a row seldom are."""
GAIN = 0.02
"""A smaller gain is not told from scatter, and would put off the end for ever."""
LEAP = 10.0
"""Calls that suddenly take a tenth show that those before them compiled or started something. The
time of those does not count: a compilation alone would use up the cap. Caches and clocks seldom
bring as much."""
CAP_NS = 300_000_000
"""What a warm-up costs at most where calls never settle; a run has many of them."""
MAX_CALLS = 1_000_000
"""In a batch, so that it ends even by a clock that says that calls take no time."""


@dataclass(frozen=True)
class WarmUp:
    """How a warm-up went.

    Attributes:
        calls: how many calls it took.
        elapsed_ns: their time together.
        settled: whether it ended by its own rule, or at least not in the midst of a gain.
        per_call_ns: the fastest batch, per call: interruptions must not pass for a slow function.
    """

    calls: int
    elapsed_ns: int
    settled: bool
    per_call_ns: float


def warm_up(time_calls: Callable[[int], int], minimum_ns: int = 0, cap_ns: int = CAP_NS) -> WarmUp:
    """Call until calls get no faster, for at least `minimum_ns` and at most about `cap_ns`.

    Args:
        time_calls: makes so many calls and returns the nanoseconds that they took.
        minimum_ns: shortest warm-up.
        cap_ns: no batch begins after so many nanoseconds; two are made in any case, since one
            says nothing of the next.
    """
    batch, calls, elapsed, spent, stalls = 1, 0, 0, 0, 0
    best = float("inf")
    while True:
        took = time_calls(batch)
        calls, elapsed = calls + batch, elapsed + took
        per_call = took / batch
        spent = took if calls > batch and LEAP * per_call < best else spent + took
        gained = per_call < (1.0 - GAIN) * best
        best = min(best, per_call)
        if took < BATCH_NS and batch < MAX_CALLS and spent < cap_ns:
            batch = min(4 * batch, MAX_CALLS)  # not a batch yet: too short to be told from noise
            continue
        stalls = 0 if gained else stalls + 1
        capped = spent >= cap_ns and calls > batch
        if (stalls >= STALLS and spent >= minimum_ns) or capped:
            # Two batches, of one long call each, say nothing of a trend.
            return WarmUp(calls, elapsed, stalls > 0 or calls <= 2, best)
