"""Ranks of a process group as threads of this process: gloo over the loopback, all the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch.distributed as dist

from implementations._vocab_parallel.work import gloo_group

T = TypeVar("T")


def on_ranks(ranks: int, function: Callable[[dist.ProcessGroup, int], T]) -> list[T]:
    """What `function(group, rank)` returns on each rank, in their order.

    Raises:
        Exception: what the first of the ranks raised, if any did.
    """
    store = dist.HashStore()
    with ThreadPoolExecutor(ranks) as pool:
        groups = list(pool.map(lambda rank: gloo_group(store, rank, ranks, 20.0), range(ranks)))
        return list(pool.map(function, groups, range(ranks)))
