"""Measures untimed units of several implementations in parallel, one process each.

One after the other they would wait for each other's compilers and for our judgement. Units are
begun ahead of the one whose records are due, so that a slow implementation keeps none waiting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

from harness.experiments.context import Part, Unit
from harness.records import Record

T = TypeVar("T")

AHEAD = 16
"""How many units are begun."""
ELEMENTS = 1 << 21
"""Of all their inputs together: with results and bounds an element takes some 150 bytes."""

_Found = tuple[list[Record], Exception | None]


class SideBySide:
    """Does parts of units in their order: of several implementations at a time, one of each."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 1)  # one waits for calls
        self._lock = Lock()
        self._waiting: list[tuple[Part, Future[_Found]]] = []
        self._busy: set[str] = set()

    def begin(self, parts: Iterable[Part]) -> Iterator[Record]:
        """Begin the parts of a unit; their records, in this order, which are waited for."""
        futures: list[Future[_Found]] = []
        for part in parts:
            futures.append(Future())
            with self._lock:
                self._waiting.append((part, futures[-1]))
            self._threads.submit(self._next)
        return _records(futures)

    def _next(self) -> None:
        """Do the first part that waits and whose implementation is free.

        Called once for each part. Where there is none, whoever is busy calls again in the end.
        """
        with self._lock:
            free = (w for w in self._waiting if w[0].implementation not in self._busy)
            chosen = next(free, None)
            if chosen is None:
                return
            self._waiting.remove(chosen)
            part, future = chosen
            self._busy.add(part.implementation)
        try:
            future.set_result(_found(part))
        except BaseException as e:  # nobody is to wait for ever
            future.set_exception(e)
        with self._lock:
            self._busy.discard(part.implementation)
            if self._waiting:
                self._threads.submit(self._next)

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being done; what waits is left out."""
        with self._lock:
            self._waiting.clear()
        self._threads.shutdown()


def _found(part: Part) -> _Found:
    """The records of a part, and what ended it before its time."""
    records: list[Record] = []
    try:
        for record in part.measure():
            records.append(record)
    except Exception as e:
        return records, e
    return records, None


def _records(futures: Sequence[Future[_Found]]) -> Iterator[Record]:
    for future in futures:
        records, error = future.result()
        yield from records
        if error is not None:
            raise error


def _measure(parts: Callable[[], Sequence[Part]]) -> Iterator[Record]:
    with SideBySide() as side_by_side:
        yield from side_by_side.begin(parts())


def unit_of(
    experiment: str, label: str, coordinates: tuple[Record, ...],
    parts: Callable[[], Sequence[Part]], weight: float,
) -> Unit:  # fmt: skip
    """A unit that consists of parts."""
    return Unit(experiment, label, coordinates, partial(_measure, parts), weight, parts=parts)


def measured(
    side_by_side: SideBySide, units: Sequence[Unit]
) -> Iterator[tuple[Unit, Iterator[Record]]]:
    """Each unit, in their order, with its records; what consists of parts is begun ahead.

    Nothing is begun before its time while something is timed, or asks for the records so far.
    """
    begun: dict[int, Iterator[Record]] = {}
    for place, unit in enumerate(units):
        room = ELEMENTS
        for i, later in enumerate(units[place : place + AHEAD], place):
            room -= _elements(later)
            if later.timed or later.concluding or (room < 0 and i > place):
                break
            if later.parts is not None and i not in begun:
                begun[i] = side_by_side.begin(later.parts())
        yield unit, begun.pop(place) if place in begun else unit.measure()


def _elements(unit: Unit) -> int:
    first = next(iter(unit.coordinates), None)
    return 0 if first is None else (first.rows or 1) * (first.classes or 1)


def once(make: Callable[[], T]) -> Callable[[], T]:
    """`make`, called by the first who asks; others wait for it, and get the same."""
    lock, made = Lock(), list[T]()

    def get() -> T:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get
