"""Blocks of input through workers, several at a time, with the judge outside of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from numpy.typing import NDArray

from harness.experiments.context import worker_for
from harness.registry.discovery import Implementation
from harness.worker.client import RemoteImplementation, WorkerFault

T = TypeVar("T")
TIMEOUT_S = 600.0


def default_workers(implementation: Implementation) -> int:
    """One worker a core, at most four; one alone for a device."""
    if implementation.metadata.device != "cpu":
        return 1
    return max(1, min(4, len(os.sched_getaffinity(0))))


class Crew:
    """Worker processes of one implementation, each with one thread, lent to one caller at a time.

    Args:
        implementation: whose.
        count: processes.
    """

    def __init__(self, implementation: Implementation, count: int) -> None:
        self.implementation = implementation
        self._free = [worker_for(implementation) for _ in range(count)]
        self._all = list(self._free)
        self._available = threading.Semaphore(count)
        self._started: set[int] = set()

    @contextmanager
    def _borrow(self) -> Iterator[RemoteImplementation]:
        with self._available:
            worker = self._free.pop()
            try:
                if id(worker) not in self._started and len(self._all) > 1:
                    worker.set_threads(1)
                    self._started.add(id(worker))
                yield worker
            finally:
                self._free.append(worker)

    def call(self, x: NDArray[Any], operation: str = "softmax", **options: Any) -> NDArray[Any]:
        """One call in a worker, checked against the contract.

        Raises:
            WorkerFault: it failed, or its result breaks the contract (shape, dtype, input).
        """
        with self._borrow() as worker:
            reply, results = worker.request(
                "run", {"operation": operation, "options": options}, (x,), timeout=TIMEOUT_S
            )
        if len(results) != 1 or results[0].shape != x.shape or results[0].dtype != x.dtype:
            got = ", ".join(f"{r.dtype} {r.shape}" for r in results)
            raise WorkerFault("failed", f"{operation}: expected {x.dtype} {x.shape}; got {got}")
        if reply["input_modified"]:
            raise WorkerFault("failed", f"{operation}: the input was modified")
        return results[0]

    def stop(self) -> None:
        for worker in self._all:
            worker.stop()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def in_parallel(work: Callable[[T], None], items: Iterable[T], threads: int) -> None:
    """`work(item)` for all items, so many at a time, never more than twice that many queued.

    The first exception (a Ctrl-C too) stops the rest: what is in flight ends, and it is raised.
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
