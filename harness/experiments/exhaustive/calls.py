"""Calls of an implementation on blocks of input, in several workers at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

from numpy.typing import NDArray

from harness.experiments.context import checked_call, worker_for
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation

T = TypeVar("T")
TIMEOUT_S = 600.0


def default_workers(implementation: Implementation) -> int:
    """One worker for each usable core, at most four; a single one for a device."""
    if implementation.metadata.device != "cpu":
        return 1
    return max(1, min(4, len(os.sched_getaffinity(0))))


class Crew:
    """Worker processes of one implementation, lent to one caller at a time.

    Args:
        implementation: what they run.
        count: how many; of several, each has one thread.
    """

    def __init__(self, implementation: Implementation, count: int) -> None:
        self._all = [worker_for(implementation) for _ in range(count)]
        self._free: SimpleQueue[RemoteImplementation] = SimpleQueue()
        for worker in self._all:
            if count > 1:
                worker.expect_threads(1)
            self._free.put(worker)

    def call(self, x: NDArray[Any], operation: str = "softmax", **options: Any) -> NDArray[Any]:
        """One call in a worker that is free, checked against the contract; see `checked_call`."""
        worker = self._free.get()
        try:
            return checked_call(worker, operation, x, options, TIMEOUT_S)
        finally:
            self._free.put(worker)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.stop()


def in_parallel(work: Callable[[T], None], items: Iterable[T], threads: int) -> None:
    """`work(item)` for all items in `threads` threads.

    After the first exception (also Ctrl-C) no item is begun; those at work end, then it is raised.
    """
    left, ended = iter(list(items)), Event()  # of a list, each item goes to one thread alone

    def serve() -> None:
        for item in left:
            if ended.is_set():
                return
            try:
                work(item)
            except BaseException:
                ended.set()
                raise

    with ThreadPoolExecutor(threads) as pool:
        try:
            for served in [pool.submit(serve) for _ in range(threads)]:
                served.result()
        finally:
            ended.set()
