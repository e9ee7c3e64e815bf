"""Calls on new content with a new output, looked at once: finds results that were remembered.

The worker's side of `integrity`, which judges what is found here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.worker.timing import restless
from harness.worker.timing.host_timer import Stopwatch, Timing

LONG_NS = 5_000_000
"""A call this long does not feel that threads had gone to sleep before it."""

SHORT_NS = 20_000
"""A call this short is not worth remembering, nor told from noise."""

LOOP_FACTOR = 4.0
LOOP_SLACK_NS = 200_000.0
"""A single call takes more than this factor and this time beyond the slowest sample of the loop:
then the loop is not what it pretends. Threads that must wake up take some tens of microseconds."""

REMEMBERED = 1.25
"""A call on new content takes so much longer than on known content: then content is remembered."""

_ROTATED_BYTES = 16 << 20  # larger outputs stay: a second one in each worker would cost memory
_LATER_S = 0.002
_processor_clock = time.process_time_ns
_sleep = time.sleep


@dataclass
class _Calls:
    """Single calls of one kind: elapsed and processor time."""

    ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)

    def make(self, stopwatch: Stopwatch, timing: Timing) -> None:
        before = _processor_clock()
        self.ns.append(stopwatch.time(timing, 1))
        self.cpu_ns.append(_processor_clock() - before)


def slow_alone(unseen: Sequence[float], header: dict[str, Any]) -> bool:
    """Whether every single call so far took much longer than those of the loops."""
    usual = float(header["per_call_ns"])
    return usual > 0 and min(unseen) > LOOP_FACTOR * usual + LOOP_SLACK_NS


def longer(new: Sequence[float], known: Sequence[float]) -> bool:
    """Whether every call on new content took longer than its partner on known content."""
    return all(n > REMEMBERED * k for n, k in zip(new, known, strict=True))


class _Rows:
    """Sampled rows of an output, as they were when the call returned, and whether they stay so."""

    def __init__(self, backend: Any, indices: Sequence[int]) -> None:
        self.backend = backend
        self.indices = np.asarray(indices, dtype=np.intp)
        self.first: list[NDArray[Any]] = []
        self.changed: str | None = None

    def of(self, native: Any) -> NDArray[Any]:
        return np.asarray(self.backend.to_numpy(native))[self.indices].copy()

    def same(self, rows: NDArray[Any]) -> bool:
        return rows.tobytes() == self.first[0].tobytes()

    def look_again(self, result: Any, when: str) -> None:
        if not self.same(self.of(result)):
            self.changed = self.changed or when


def _look(stopwatch: Stopwatch, timing: Timing, rows: _Rows, fresh: NDArray[Any]) -> dict[str, Any]:
    """The sampled rows of a call that has just returned; then the same rows a little later."""
    reply: dict[str, Any] = {"shape": None, "dtype": None, "out_ignored": False, "type": None,
                             "input_modified": False}  # fmt: skip
    result, argument = timing.result, stopwatch.arguments[0]
    if type(result) is not type(argument):
        return reply | {"type": type(result).__name__}  # reading it could be what computes it
    array = stopwatch.backend.to_numpy(result)
    reply |= {"shape": list(array.shape), "dtype": array.dtype.name}
    if array.shape != fresh.shape:
        return reply
    rows.first = [rows.of(result)]
    _sleep(_LATER_S)
    rows.look_again(result, "after it was returned")
    if "out" in timing.options:
        reply["out_ignored"] = not rows.same(rows.of(timing.options["out"]))
    reply["input_modified"] = rows.of(argument).tobytes() != fresh[rows.indices].tobytes()
    return reply


def _change_between(stopwatch: Stopwatch, timing: Timing, row: int, fresh: NDArray[Any]) -> None:
    """Two calls in the timing loop itself, and one row of the input changed between them.

    Where the library's arrays share no memory with ours (they cannot be written to), the change
    is a new array, before the first.
    """
    target, content = stopwatch.hosts[0][row], fresh[row]
    if not stopwatch.shared():
        stopwatch.refresh(fresh)

    def steps() -> Iterator[None]:
        yield None
        target[...] = content
        yield None

    stopwatch.time(timing, 2, steps())


def probe(
    stopwatch: Stopwatch,
    timing: Timing,
    header: dict[str, Any],
    fresh: NDArray[Any],
    values: NDArray[Any] | None = None,
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Call on content never seen before, in turn with the content of the timings so far.

    `fresh` is written over the old content in place. Both kinds of call are made alike, alone and
    just after the content was written, so that their times differ only if the function knows the
    old content, or, both slower than the samples, the loop. One row is changed once more between
    two calls in quick succession, and the result of the second is what is looked at: nothing but a
    look at all of the input tells a call in a timing loop from this one. Further new contents are
    the same elements, moved on by `shifts`: as many more pairs, fewer as soon as one shows no
    difference and no call was slow alone; which kind comes first is not to be foretold, since the
    first of two finds colder caches and threads that went to sleep. Processor time must show it as
    well: on a busy machine the scheduler can interrupt one kind of call every time and the other
    never.

    Args:
        stopwatch: holds the input.
        timing: the prepared call; its output is replaced by a new one if it is not too large.
        header: `rows` to look at, the `row` among them to change, `per_call_ns` as timed so far,
            `shifts`, and for each whether the content so far comes first, `swapped`.
        fresh: the new content, like the old; it stays in place.
        values: for the loops of `restless`, which are made on it in the end; None for none.

    Returns:
        `unseen_ns`, `unseen_cpu_ns`, `repeated_ns`, `repeated_cpu_ns`; the `shape`, `dtype` and, if
        it is not that of the input, the `type` of the output; `changed` if the sampled rows did
        not stay as they were; `out_ignored`; `input_modified`; what `restless` adds. And
        the sampled rows, copied at once when the first call on new content returned; the rows of
        `restless`.
    """
    old = stopwatch.hosts[0].copy()
    if "out" in timing.options and fresh.nbytes <= _ROTATED_BYTES:
        stopwatch.own_output(timing)
    rows = _Rows(stopwatch.backend, header["rows"])
    if header["per_call_ns"] < LONG_NS:
        stopwatch.refresh(old)
        stopwatch.time(timing, 1)
    unseen, repeated = _Calls(), _Calls()
    one = header["row"]
    almost = fresh.copy()
    almost[one] = fresh[one, ::-1]
    stopwatch.refresh(almost)
    del almost
    unseen.make(stopwatch, timing)
    _change_between(stopwatch, timing, one, fresh)
    reply = _look(stopwatch, timing, rows, fresh)
    held = timing.result
    stopwatch.refresh(old)
    repeated.make(stopwatch, timing)
    if rows.first and "out" not in timing.options:
        rows.look_again(held, "by the next call")
    del held
    for shift, swapped in zip(header["shifts"], header["swapped"], strict=True):
        pair = (unseen.ns[-1:], repeated.ns[-1:]), (unseen.cpu_ns[-1:], repeated.cpu_ns[-1:])
        remembered = all(longer(new, known) for new, known in pair)
        if unseen.ns[-1] < SHORT_NS or not (remembered or slow_alone(unseen.ns, header)):
            break
        moved = np.roll(fresh.reshape(-1), shift).reshape(fresh.shape)
        both = (unseen, moved), (repeated, old)
        for calls, content in reversed(both) if swapped else both:
            stopwatch.refresh(content)
            calls.make(stopwatch, timing)
    stopwatch.refresh(fresh)
    reply |= {f"unseen_{k}": v for k, v in vars(unseen).items()}
    reply |= {f"repeated_{k}": v for k, v in vars(repeated).items()}
    reply |= {"changed": rows.changed}
    last: list[NDArray[Any]] = []
    if values is not None and rows.first:
        more, last = restless.loops(stopwatch, timing, header, values)
        stopwatch.refresh(fresh)
        reply |= more
    return reply, [*rows.first, *last]
