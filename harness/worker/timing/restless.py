"""Timing loops in which one element of the input changes before every call.

The loops of the samples repeat one call on one input. An implementation may return what it had
before when it knows the input again, by whatever sign, or when calls follow each other closely.
Here it has to work every time: either its results do not fit the last content, or its time is not
that of the samples. It does not matter by what it tells one loop from the other.

The worker's side of `integrity`, which judges what is found here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.timing.host_timer import Stopwatch, Timing

LOOPS = 8
"""Loops that must all take longer; of an honest implementation the first seldom does. The pauses
between them double, to a quarter of a second in all: neighbours on a core come and go."""

FEWEST = 5
"""Loops at least: one that works at every third call is right in one of three."""

CALLS = 2048
"""Calls of a loop at most, each with a value of its own."""

SLOWER, SLACK_NS = 2.0, 2_000.0
"""A call of such a loop takes this factor and this time beyond the samples: they are not what they
pretend. One element that changed costs the next call some tens of nanoseconds."""

_ENOUGH_NS = 100_000_000.0
_processor_clock = time.process_time_ns
_sleep = time.sleep


def slower(restless: float, usual: float) -> bool:
    """Whether a call takes longer than it may, in ns."""
    return restless > SLOWER * usual + SLACK_NS


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _per_call(
    stopwatch: Stopwatch, timing: Timing, spot: int, values: Sequence[Any]
) -> tuple[float, float]:
    """Elapsed and processor time of a call, where each follows a new element at `spot`."""
    flat = stopwatch.hosts[0].reshape(-1)

    def steps() -> Iterator[None]:
        for value in values:
            flat[spot] = value
            yield

    before = _processor_clock()
    elapsed = stopwatch.time(timing, len(values), steps())
    spent = _processor_clock() - before
    return elapsed / len(values), spent / len(values)


def loops(
    stopwatch: Stopwatch, timing: Timing, header: dict[str, Any], values: NDArray[Any]
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Make such loops; none where the library's arrays do not share our memory.

    They end as soon as one takes no longer than the samples, after `FEWEST`: on a busy machine
    all of a few may.

    Args:
        stopwatch: holds the input, two-dimensional and contiguous, which is changed.
        timing: the prepared call.
        header: `spot`, the element that changes, by its index in the flattened input; `counts`,
            how many calls each loop makes, of which there are at most `LOOPS`; `per_call_ns` as
            timed so far.
        values: what the element becomes, `CALLS` for each loop, of which it takes the first.

    Returns:
        `restless_ns` and `restless_cpu_ns`, per call, less what the changes take; and for each
        loop the row of the last result in which the element lies.
    """
    elapsed: list[float] = []
    spent: list[float] = []
    rows: list[NDArray[Any]] = []
    if stopwatch.shared():
        idle = replace(timing, function=_nothing, part=None)
        row = header["spot"] // stopwatch.hosts[0].shape[-1]
        usual = float(header["per_call_ns"])
        fewest = FEWEST if usual * max(header["counts"]) < _ENOUGH_NS else 1
        for k, count in enumerate(header["counts"]):
            own = list(values[k * CALLS : k * CALLS + count])
            free, free_cpu = _per_call(stopwatch, idle, header["spot"], own)
            took, cpu = _per_call(stopwatch, timing, header["spot"], own)
            result = np.asarray(stopwatch.backend.to_numpy(timing.result))
            rows.append(result[row].copy())
            elapsed.append(took - free)
            spent.append(cpu - free_cpu)
            if len(rows) >= fewest and not all(slower(t, usual) for t in elapsed):
                break
            _sleep(0.001 * 2**k)
    return {"restless_ns": elapsed, "restless_cpu_ns": spent}, rows
