"""Sweeping data out of the caches of every processor, for timings of calls that find it cold.

Writing through a buffer larger than the last-level cache drives everything else out of that
cache. It does not drive it out of the caches that belong to other cores, which is why a thread
bound to each usable core sweeps its share.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from harness.machine.sysfs import data_caches

_UNKNOWN_BYTES = 64 << 20
_FACTOR = 2


def share_bytes(cores: int) -> int:
    """Bytes that each of `cores` threads sweeps: twice what it can leave in any cache.

    A shared cache is swept by all that share it together, a private one by its own core.
    """
    caches = data_caches()
    if not caches:
        return _FACTOR * _UNKNOWN_BYTES // cores
    return max(-(-_FACTOR * c.bytes // min(c.shared_by, cores)) for c in caches)


class Evictor:
    """Threads, one bound to each usable core, and the buffer that they sweep."""

    def __init__(self) -> None:
        self.cores = sorted(os.sched_getaffinity(0))
        count = len(self.cores)
        self.buffer = np.zeros((count, share_bytes(count) // 8), dtype=np.uint64)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="evictor")

    def _sweep(self, index: int) -> None:
        os.sched_setaffinity(0, {self.cores[index]})  # 0 is the calling thread alone
        row = self.buffer[index]
        np.add(row, 1, out=row)

    def evict(self) -> None:
        """Sweep on all cores at once; returns when all are done, and their threads sleep."""
        for _ in self._threads.map(self._sweep, range(len(self.cores))):
            pass

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
