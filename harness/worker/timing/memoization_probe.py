"""Finds remembered results by calls on new content, and by loops in which it changes all the time.

The worker's side of `integrity`, which judges what is found here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.isolation.scheduling import Waits
from harness.worker.timing.calm import probe_ns
from harness.worker.timing.host_timer import Reply, Stopwatch, Timing

SHORT_NS = 20_000
"""A call this short is not worth remembering, nor told from noise."""

LOOP_FACTOR = 4.0
LOOP_SLACK_NS = 200_000.0
"""A single call takes more than this factor and this time beyond the slowest sample of the loop:
then the loop is not what it pretends. Threads that must wake up take some tens of microseconds."""

REMEMBERED = 1.25
"""A call on new content takes so much longer than on known content: then content is remembered."""

LOOPS = 8
"""Loops that must all take longer; of an honest implementation the first seldom does. While all do
the pauses between them double, to a quarter of a second in all: neighbours on a core come and
go."""

FEWEST = 5
"""Loops at least: one that works at every third call is right in one of three."""

CALLS = 2048
"""Calls of a loop at most, each with a value of its own."""

SLOWER, SLACK_NS = 2.0, 2_000.0
"""A call of such a loop takes this factor and this time beyond the samples: they are not what they
pretend. One element that changed costs the next call some tens of nanoseconds."""

_ENOUGH_NS = 100_000_000.0
_ROTATED_BYTES = 16 << 20  # larger outputs stay: a second one in each worker would cost memory
_LATER_S = 0.002
_processor_clock = time.process_time_ns
_sleep = time.sleep


@dataclass
class _Calls:
    """Calls of one kind: elapsed and processor time of each, or a call of each loop.

    Of the elapsed time what threads waited for a processor is taken off. On a busy machine a call
    by itself has to: its threads wake up where others compute, and the rest spin until they have.
    """

    ns: list[float] = field(default_factory=list)
    cpu_ns: list[float] = field(default_factory=list)

    def make(
        self, stopwatch: Stopwatch, timing: Timing, calls: int = 1,
        steps: Iterator[None] | None = None,
    ) -> None:  # fmt: skip
        with Waits() as waits:
            before = _processor_clock()
            took = stopwatch.time(timing, calls, steps)
            spent = _processor_clock() - before
        self.ns.append(max(0.0, took - waits.ns) / calls)
        self.cpu_ns.append(spent / calls)


def slow_alone(unseen: Sequence[float], header: dict[str, Any]) -> bool:
    """Whether every single call so far took much longer than those of the loops."""
    usual = float(header["per_call_ns"])
    return usual > 0 and min(unseen) > LOOP_FACTOR * usual + LOOP_SLACK_NS


def longer(new: Sequence[float], known: Sequence[float]) -> bool:
    """Whether every call on new content took longer than its partner on known content."""
    return all(n > REMEMBERED * k for n, k in zip(new, known, strict=True))


def slower(restless: float, usual: float) -> bool:
    """Whether a call on changing content takes longer than it may, in ns."""
    return restless > SLOWER * usual + SLACK_NS


def _look(
    stopwatch: Stopwatch, timing: Timing, indices: Sequence[int], fresh: NDArray[Any]
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """What a call that has just returned gave, what is wrong with that, and its sampled rows.

    No rows where the result is no array of the library, since reading it could be what computes
    it, or is one of another shape.
    """
    reply: dict[str, Any] = {"shape": None, "dtype": None, "type": None, "changed": None,
                             "out_ignored": False, "input_modified": False}  # fmt: skip
    result, argument = timing.result, stopwatch.arguments[0]
    if type(result) is not type(argument):
        return reply | {"type": type(result).__name__}, []
    array = stopwatch.backend.to_numpy(result)
    reply |= {"shape": list(array.shape), "dtype": array.dtype.name}
    if array.shape != fresh.shape:
        return reply, []
    first = stopwatch.rows(result, indices)
    _sleep(_LATER_S)
    if not _same(stopwatch.rows(result, indices), first):
        reply["changed"] = "after it was returned"
    if "out" in timing.options:
        reply["out_ignored"] = not _same(stopwatch.rows(timing.options["out"], indices), first)
    reply["input_modified"] = not _same(stopwatch.rows(argument, indices), fresh[indices])
    return reply, [first]


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.tobytes() == b.tobytes()


def _pairs(
    stopwatch: Stopwatch, timing: Timing, header: dict[str, Any], old: NDArray[Any],
    fresh: NDArray[Any], unseen: _Calls, repeated: _Calls,
) -> None:  # fmt: skip
    """Further calls on new content and on the old, in turn; they end where one pair shows nothing.

    Further new contents are the same elements, moved on by `shifts`. Which of two comes first is
    not to be foretold, since the first finds colder caches and threads that went to sleep.
    """
    for shift, swapped in zip(header["shifts"], header["swapped"], strict=True):
        remembered = longer(unseen.ns[-1:], repeated.ns[-1:]) and longer(
            unseen.cpu_ns[-1:], repeated.cpu_ns[-1:]
        )
        if unseen.ns[-1] < SHORT_NS or not (remembered or slow_alone(unseen.ns, header)):
            return
        moved = np.roll(fresh.reshape(-1), shift).reshape(fresh.shape)
        both = (unseen, moved), (repeated, old)
        for calls, content in reversed(both) if swapped else both:
            stopwatch.refresh(content)
            calls.make(stopwatch, timing)


def _restless_loops(
    stopwatch: Stopwatch, timing: Timing, header: dict[str, Any], values: NDArray[Any]
) -> tuple[_Calls, list[NDArray[Any]], list[int]]:
    """Timing loops in which the element at `spot` changes before every call.

    The loops of the samples repeat one call on one input. An implementation may return what it
    had before when it knows the input again, by whatever sign, or when calls follow each other
    closely. Here it has to work every time: either its results do not fit the last content, or its
    time is not that of the samples. It does not matter by what it tells one loop from the other.

    They end as soon as one takes no longer than the samples, after `FEWEST`: on a busy machine all
    of a few may. None are made where the library's arrays do not share our memory.

    Returns:
        Times of a call, less what the changes take; for each loop the row of the last result in
        which the element lies, and what the cores took for a probe after it (`calm`).
    """
    idle = replace(timing, function=lambda *_, **__: None, part=None)
    flat, spot = stopwatch.hosts[0].reshape(-1), header["spot"]
    row = [spot // stopwatch.hosts[0].shape[-1]]
    usual = float(header["per_call_ns"])
    fewest = FEWEST if usual * max(header["counts"]) < _ENOUGH_NS else 1
    took, free = _Calls(), _Calls()
    rows: list[NDArray[Any]] = []
    probes: list[int] = []

    def steps(own: list[Any]) -> Iterator[None]:
        for value in own:
            flat[spot] = value
            yield

    for k, count in enumerate(header["counts"] if stopwatch.shared() else ()):
        own = list(values[k * CALLS : k * CALLS + count])
        free.make(stopwatch, idle, count, steps(own))
        took.make(stopwatch, timing, count, steps(own))
        probes.append(probe_ns())
        rows.extend(stopwatch.rows(timing.result, row))
        took.ns[-1] -= free.ns[-1]
        took.cpu_ns[-1] -= free.cpu_ns[-1]
        if all(slower(t, usual) for t in took.ns):
            _sleep(0.001 * 2**k)
        elif len(rows) >= fewest:
            break
    return took, rows, probes


def _change_between(stopwatch: Stopwatch, timing: Timing, row: int, fresh: NDArray[Any]) -> None:
    """Two calls in the timing loop itself, and one row of the input changed between them.

    Where the library's arrays share no memory with ours (they cannot be written to), the change
    is a new array, before the first.
    """
    target, content = stopwatch.hosts[0][row], fresh[row]
    if not stopwatch.shared():
        stopwatch.refresh(fresh)

    def steps() -> Iterator[None]:
        yield
        target[...] = content
        yield

    stopwatch.time(timing, 2, steps())


def probe(
    stopwatch: Stopwatch,
    timing: Timing,
    header: dict[str, Any],
    fresh: NDArray[Any],
    values: NDArray[Any] | None = None,
) -> Reply:
    """Call on content never seen before, in turn with the content of the timings so far.

    `fresh` is written over the old content in place, and the call that follows at once is looked
    at; where no loops can be made, a row of it is written once more, between two calls, and the
    second is looked at. Calls on new and on old content are made alike, alone and just after the
    content was written, so that their times differ only if the function knows the old content, or,
    both slower than the samples, the loop. Processor time must show it as well: on a busy machine
    the scheduler can interrupt one kind of call every time and the other never.

    Args:
        stopwatch: holds the input, two-dimensional and contiguous.
        timing: the prepared call; its output is replaced by a new one if it is not too large.
        header: `rows` to look at; `per_call_ns` as timed so far; `shifts`, and for each whether
            the content so far comes first, `swapped`; `spot`, the element that changes in loops, by
            its index in the flattened input, in one of `rows`; `counts`, how many calls each loop
            makes, of which there are at most `LOOPS`.
        fresh: the new content, like the old; it stays in place.
        values: what the element becomes in loops, `CALLS` for each, of which it takes the first;
            None for no loops.

    Returns:
        `unseen_ns`, `unseen_cpu_ns`, `repeated_ns`, `repeated_cpu_ns`; the `shape`, `dtype` and, if
        it is not that of the input, the `type` of the output; `changed` if the sampled rows did
        not stay as they were; `out_ignored`; `input_modified`; `restless_ns`, `restless_cpu_ns` and
        `restless_probe_ns`.
        And the sampled rows, copied at once when the first call on new content returned; a row of
        each loop.
    """
    old = stopwatch.hosts[0].copy()
    if "out" in timing.options and fresh.nbytes <= _ROTATED_BYTES:
        stopwatch.own_output(timing)
    unseen, repeated = _Calls(), _Calls()
    stopwatch.refresh(old)
    stopwatch.time(timing, 1)  # threads wake up, and the next call follows in quick succession
    loops, one = values is not None and stopwatch.shared(), header["spot"] // fresh.shape[1]
    first = fresh if loops else fresh.copy()
    if not loops:
        first[one] = fresh[one, ::-1]
    stopwatch.refresh(first)
    unseen.make(stopwatch, timing)
    if not loops:
        _change_between(stopwatch, timing, one, fresh)
    reply, rows = _look(stopwatch, timing, header["rows"], fresh)
    held = timing.result
    stopwatch.refresh(old)
    repeated.make(stopwatch, timing)
    own = rows and "out" not in timing.options
    if own and not reply["changed"] and not _same(stopwatch.rows(held, header["rows"]), rows[0]):
        reply["changed"] = "by the next call"
    del held
    _pairs(stopwatch, timing, header, old, fresh, unseen, repeated)
    stopwatch.refresh(fresh)
    calls = {"unseen": unseen, "repeated": repeated}
    if values is not None and rows:
        calls["restless"], last, probes = _restless_loops(stopwatch, timing, header, values)
        reply["restless_probe_ns"] = probes
        rows += last
        stopwatch.refresh(fresh)
    return reply | {f"{k}_{what}": v for k, c in calls.items() for what, v in vars(c).items()}, rows
