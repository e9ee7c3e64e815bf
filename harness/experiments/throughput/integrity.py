"""Detects implementations that remember, defer or skip work while they are timed.

An implementation can look fast without being it: by remembering a result by the identity, the
address or the content of its input, by recognising the timing loop or the known workload, by
returning before its work is done. Its input is therefore overwritten in place with content drawn
from the system's entropy, at a random round, and what the next call returns is judged against
the reference. The same call is then made alternately on that content and on the old, which must
take the same time. Last, it is made in loops like those of the samples, but with an input that
changes before every call: results must follow it, at the speed of the samples.

What this cannot see is told in docs/method.md: code that changes the harness in its own process.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import workloads
from harness.experiments.throughput.entrants import HostEntrant
from harness.experiments.throughput.gate import refused
from harness.experiments.throughput.timed_operations import WORKLOAD
from harness.worker.timing import memoization_probe as probe

PAIRS = 8
"""Pairs that must all differ; an honest one differs by chance in perhaps one of five."""

CLOCK_FACTOR = 3.0
CLOCK_SLACK_NS = 20_000_000.0
"""What a request takes beyond its sample: some milliseconds on a busy machine."""

IMPOSSIBLE = 2.0
"""Processor time in each sample, as a multiple of what all processors can give: no clock is right
that says so. Twice, since the two are not read at the same instant."""

ELSEWHERE = 0.1
"""Share of each sample's processor time that other processes may have, for housekeeping."""

_GATE_ELEMENTS = 1 << 16

_PAIRED = ("unseen_ns", "repeated_ns", "unseen_cpu_ns", "repeated_cpu_ns")

Judge = Callable[[HostEntrant, NDArray[Any], NDArray[Any], NDArray[Any]], dict[str, Any]]
"""Of an entrant, indices of rows, those rows of the first argument, and of the result."""


def sampled_rows(x: NDArray[Any]) -> NDArray[np.int64]:
    """Rows to judge: random ones, the first and the last, as many as make a small reference."""
    count = min(len(x), max(1, _GATE_ELEMENTS // x.shape[1]))
    if count == len(x):
        return np.arange(count)
    rng = np.random.default_rng(secrets.randbits(64))
    drawn = rng.choice(len(x), size=count, replace=False)
    return np.unique([0, len(x) - 1, *drawn.tolist()][: max(2, count)])


def _some(count: int, classes: int) -> NDArray[np.int64]:
    """Which of so many rows to judge: all, or of huge ones those that nobody can foretell."""
    most = max(1, 2 * _GATE_ELEMENTS // classes)
    rng = np.random.default_rng(secrets.randbits(64))
    return np.sort(rng.permutation(count)[:most])


@dataclass
class Scrutiny:
    """The verification of a group's entrants.

    Attributes:
        classes, rows, dtype: of the content that replaces the old.
        judge: the accuracy gate: changes to the record of an entrant for rows of input and output.
        seed: of that content, from the system's entropy.
    """

    classes: int
    rows: int
    dtype: str
    judge: Judge
    seed: int = field(default_factory=lambda: secrets.randbits(48))
    _chosen: list[tuple[NDArray[Any], NDArray[np.int64]]] = field(default_factory=list)

    @cached_property
    def content(self) -> NDArray[Any]:
        return workloads.generate(WORKLOAD, self.classes, self.rows, self.dtype, self.seed)

    @cached_property
    def upside_down(self) -> NDArray[Any]:
        """For the second entrant of a worker, which has seen `content`."""
        return np.ascontiguousarray(self.content[::-1, ::-1])

    def rows_of(self, content: NDArray[Any]) -> NDArray[np.int64]:
        """Rows on which results for `content` are judged: the same for everyone in the group."""
        for known, rows in self._chosen:
            if known is content:
                return rows
        self._chosen.append((content, sampled_rows(content)))
        return self._chosen[-1][1]

    def verify(self, entrant: HostEntrant, entrants: list[HostEntrant], timeout: float) -> None:
        """Judge one call on new content, and its time; content and findings are kept.

        Raises:
            WorkerFault: the worker gave no answer.
        """
        if entrant.implementation is None:
            return  # our own copies
        fresh = self.upside_down if entrant.content is self.content else self.content
        rows = self.rows_of(fresh)
        spot = int(secrets.choice(rows)) * self.classes + secrets.randbelow(self.classes)
        counts = _loops(entrant)
        values = self._values() if counts else None
        reply, outputs = entrant.worker.request(
            "verify",
            {
                "handle": entrant.handle,
                "rows": rows.tolist(),
                "per_call_ns": float(np.median(entrant.samples)) if entrant.samples else 0.0,
                "shifts": [1 + secrets.randbelow(max(1, fresh.size - 1)) for _ in range(PAIRS - 1)],
                "swapped": [bool(secrets.randbelow(2)) for _ in range(PAIRS - 1)],
                "spot": spot,
                "counts": counts,
            },
            (fresh,) if values is None else (fresh, values),
            timeout=(3 + 2 * PAIRS) * timeout,
        )
        for other in entrants:
            if other.worker is entrant.worker:
                other.content = fresh
        times = {k: [float(t) for t in reply[k]] for k in _PAIRED}
        entrant.update(input_seed=self.seed, **times)

        def wrong(when: str, at: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> str | None:
            changes = self.judge(entrant, at, x, y)
            return f"{when}: {changes['reason']}" if changes.get("status") == "failed" else None

        reason = _broken(reply, fresh)
        if reason is None and outputs:
            reason = wrong("on new content written in place", rows, fresh[rows], outputs[0])
        if reason is None and values is not None and outputs[1:]:
            slowed = [entrant.calm.slowed(p) for p in reply["restless_probe_ns"]]
            entrant.restless = (
                [t / by for t, by in zip(reply["restless_ns"], slowed, strict=True)],
                [t / by for t, by in zip(reply["restless_cpu_ns"], slowed, strict=True)],
            )
            last = _last_contents(fresh, spot, counts, values)
            some = _some(len(outputs) - 1, self.classes)
            same = np.full(len(some), spot // self.classes)
            last_outputs = np.stack(outputs[1:])[some]
            reason = wrong("on new content before every call", same, last[some], last_outputs)
        entrant.caught = reason

    def _values(self) -> NDArray[Any]:
        """What an element becomes, time after time: of the workload, never seen before."""
        count = probe.LOOPS * probe.CALLS
        rows = -(-count // self.classes)
        drawn = workloads.generate(WORKLOAD, self.classes, rows, self.dtype, secrets.randbits(48))
        return drawn.reshape(-1)[:count]


def verdict(entrant: HostEntrant, entrants: Sequence[HostEntrant]) -> dict[str, Any]:
    """What is wrong with a timing, as changes to its record; empty if nothing is."""
    reason = (
        entrant.caught
        or dishonest_times(entrant)
        or dishonest_loops(entrant)
        or dishonest_clock(entrant, entrants)
        or work_elsewhere(entrant)
    )
    return {} if reason is None else refused(reason)


def _loops(entrant: HostEntrant) -> list[int]:
    """How many calls each restless loop makes: about as many as a sample, a number unforeseen."""
    if entrant.record.cache == "cold":
        return []
    usual = max(2, min(entrant.calls, probe.CALLS * 2 // 3))  # two at least: in quick succession
    return [usual + secrets.randbelow(usual // 2 + 1) for _ in range(probe.LOOPS)]


def _last_contents(
    fresh: NDArray[Any], spot: int, counts: Sequence[int], values: NDArray[Any]
) -> NDArray[Any]:
    """The row that changes, as it is in the last call of each restless loop."""
    row, column = divmod(spot, fresh.shape[1])
    found = np.repeat(fresh[row : row + 1], len(counts), axis=0)
    for k, count in enumerate(counts):
        found[k, column] = values[k * probe.CALLS + count - 1]
    return found


def _broken(reply: dict[str, Any], fresh: NDArray[Any]) -> str | None:
    if reply["type"] is not None:
        return (
            f"timed output: expected an array of its library; got {reply['type']}, which may "
            "compute when it is read"
        )
    if reply["shape"] != list(fresh.shape) or reply["dtype"] != fresh.dtype.name:
        return (
            f"timed output: expected {list(fresh.shape)} {fresh.dtype.name}; "
            f"got {reply['shape']} {reply['dtype']}"
        )
    if reply["changed"]:
        return f"its result was changed {reply['changed']}: the work is not done, or not its own"
    if reply["out_ignored"]:
        return "out=: the result is not in the array that was given"
    if reply["input_modified"]:
        return "the input was modified in a timed call"
    return None


def dishonest_times(entrant: HostEntrant) -> str | None:
    """Why the times on new content do not fit those of the samples; None if they do.

    Both the elapsed and the processor time must say so: the one alone is at the mercy of the
    scheduler, the other of threads that spin.
    """
    record = entrant.record
    unseen, spent = record.unseen_ns, record.unseen_cpu_ns
    if not unseen or not spent or not entrant.samples:
        return None
    known, known_spent = record.repeated_ns or [], record.repeated_cpu_ns or []
    if len(unseen) >= PAIRS and probe.longer(unseen, known) and probe.longer(spent, known_spent):
        ratio = float(np.median(spent)) / max(float(np.median(known_spent)), 1.0)
        return (
            f"remembers inputs: in {len(unseen)} of {len(unseen)} pairs a call on new content "
            f"took longer than one on the content of the timings, {ratio:.3g} times the processor "
            "time"
        )
    if record.cache == "cold":
        return None
    usual = _slow(entrant)
    if all(
        min(one) > probe.LOOP_FACTOR * loop + probe.LOOP_SLACK_NS
        for one, loop in zip((unseen, spent), usual, strict=True)
    ):
        return (
            f"fast in the timing loop alone: a single call on new content took "
            f"{min(unseen) / 1e3:.4g} µs, a slow sample {usual[0] / 1e3:.4g} µs a call"
        )
    return None


def _slow(entrant: HostEntrant) -> tuple[float, float]:
    """The upper quartile of the samples, of elapsed and of processor time, ns a call.

    The slowest may be that just after the content changed, when even a cheat had to work.
    """
    at = -1 - (len(entrant.samples) + 1) // 4
    spent = [s * p for s, p in zip(entrant.samples, entrant.processors, strict=True)]
    return sorted(entrant.samples)[at], sorted(spent)[at]


def dishonest_loops(entrant: HostEntrant) -> str | None:
    """Why the times of loops on changing input do not fit those of the samples; None if they do.

    Fewer than all loops say nothing: they ended since a call took no longer than the samples before
    them, and a machine that was slow then, and fast later, makes them look slow.
    """
    took, spent = entrant.restless
    if len(took) < probe.LOOPS or not entrant.samples:
        return None
    usual, usual_spent = _slow(entrant)
    if probe.slower(min(took), usual) and probe.slower(min(spent), usual_spent):
        return (
            f"fast on an input that stays the same alone: in {len(took)} of {len(took)} loops in "
            f"which it changed before every call, a call took {min(took) / 1e3:.4g} µs or more, "
            f"in the samples {usual / 1e3:.4g} µs"
        )
    return None


def work_elsewhere(entrant: HostEntrant) -> str | None:
    """Why a time is none of this process alone; None if it is.

    Processes that an implementation has started are held to no number of threads and no limit of
    memory, so that their times compare with nobody's.
    """
    if not entrant.elsewhere or min(entrant.elsewhere) <= ELSEWHERE:
        return None
    return (
        f"computes in other processes: in each sample they had {min(entrant.elsewhere):.0%} of its "
        "processor time or more, which no limit of threads or memory reaches"
    )


def dishonest_clock(entrant: HostEntrant, entrants: Sequence[HostEntrant]) -> str | None:
    """Why the worker's clock cannot be right: the system's or the coordinator's saw more time.

    How much more is usual, the copies of the same group tell. On a crowded machine single
    requests wait for a processor, so that every round must say so.
    """
    if entrant.processors and min(entrant.processors) > IMPOSSIBLE * (os.cpu_count() or 1):
        return (
            f"in each sample it spent at least {min(entrant.processors):.4g} times as much "
            f"processor time as its clock says has passed, on {os.cpu_count()} processors: its "
            "clock was tampered with"
        )
    if entrant.record.cache == "cold" or not entrant.overheads:
        return None
    usual = [max(e.overheads) for e in entrants if e.record.role == "limit" and e.overheads]
    call = float(np.median(entrant.samples))
    told = call * entrant.calls * entrant.samples_a_visit
    warming = call if entrant.warm else 0.0  # the call in front of a visit, which nobody told
    more = min(entrant.overheads) - warming
    if more > told and more > CLOCK_SLACK_NS + CLOCK_FACTOR * max(usual, default=0.0):
        return (
            f"the worker told {told / 1e6:.4g} ms a visit, the coordinator's clock saw at least "
            f"{more / 1e6:.4g} ms more in every round: its clock was tampered with, or the work is "
            "done elsewhere"
        )
    return None
