"""Calls of an implementation on blocks of input, in several workers at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
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
    """`work(item)` for all items in `threads` threads; at most twice as many are queued.

    After the first exception (also Ctrl-C) no item is begun; those at work end, then it is raised.
    """
    queue: set[Future[None]] = set()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                queue.add(pool.submit(work, item))
                if len(queue) >= 2 * threads:
                    queue = _collect(queue)
            while queue:
                queue = _collect(queue)
        finally:
            for future in queue:
                future.cancel()


def _collect(queue: set[Future[None]]) -> set[Future[None]]:
    done, rest = wait(queue, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return rest
