"""How much memory this machine has for us: physical, or what the control group allows."""

from __future__ import annotations

import os
from functools import cache

from harness.machine.sysfs import memory_limit

LIMIT_VARIABLE = "SOFTMAX_BENCH_WORKER_MEMORY"
WORKER_SHARE = 0.75
REPLY_SHARE = 0.5
_LEAST = 1 << 30


@cache
def total_memory() -> int:
    """Bytes of memory that this process and all others of its container can have together."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit()
    return physical if limit is None else min(physical, limit)


def worker_limit() -> int | None:
    """Bytes of writable memory that one worker may map; None for no limit.

    `WORKER_SHARE` of `total_memory`, at least 1 GiB; the variable `LIMIT_VARIABLE` replaces it by
    a number of bytes, 0 for no limit.

    Raises:
        ValueError: the variable is no such number.
    """
    chosen = os.environ.get(LIMIT_VARIABLE)
    if not chosen:
        return max(_LEAST, int(WORKER_SHARE * total_memory()))
    if not chosen.isdecimal():
        raise ValueError(
            f"{LIMIT_VARIABLE}: expected a number of bytes, or 0 for no limit; got {chosen!r}"
        )
    return int(chosen) or None


def reply_limit() -> int:
    """Bytes that the coordinator takes in one answer of a worker."""
    return max(_LEAST, int(REPLY_SHARE * total_memory()))
