"""What the ranks of a team do: each kind of work is a class, made once in every rank.

A kind of work has `sizes(classes, ranks)`, how it divides the classes, and is called with an
operation, the rank's logits, the number of all classes and the targets. Of its answer, what has
two axes takes the place of the logits; the rest is of whole rows.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from implementations._vocab_parallel import sharded
from implementations._vocab_parallel.sharded import Shards

if TYPE_CHECKING:
    from torch import Tensor


def loopback_gloo(
    store: dist.Store, rank: int, ranks: int, timeout: timedelta
) -> dist.ProcessGroupGloo:
    """gloo on the loopback; as torch makes it, it asks the name of the machine for an address."""
    options = dist.ProcessGroupGloo._Options()
    options._timeout = timeout
    options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
    return dist.ProcessGroupGloo(store, rank, ranks, options)


def gloo_group(store: dist.Store, rank: int, ranks: int, timeout_s: float) -> dist.ProcessGroup:
    """A group of processes of this machine that is nobody's default group.

    Args:
        store: where the ranks meet.
        rank: which of them this is.
        ranks: how many there are; they are waited for.
        timeout_s: how long one waits for another in a collective.
    """
    gloo = loopback_gloo(store, rank, ranks, timedelta(seconds=timeout_s))
    group = dist.ProcessGroup(store, rank, ranks)
    group._register_backend(torch.device("cpu"), dist.ProcessGroup.BackendType.GLOO, gloo)
    return group


class VocabParallel:
    """Our own functions (`sharded`)."""

    def __init__(self, store: dist.Store, rank: int, ranks: int, timeout_s: float) -> None:
        self.rank = rank
        self.group = gloo_group(store, rank, ranks, timeout_s) if ranks > 1 else None
        self.ranks = ranks

    @staticmethod
    def sizes(classes: int, ranks: int) -> tuple[int, ...]:
        return Shards.balanced(classes, ranks).sizes

    def __call__(
        self, operation: str, shard: Tensor, classes: int, targets: Tensor | None
    ) -> tuple[Tensor, ...]:
        shards = Shards.balanced(classes, self.ranks)
        function = getattr(sharded, operation)
        if targets is not None:
            loss, gradient = function(shard, targets, shards, self.group)
            return gradient, loss
        return (function(shard, shards, self.group),)
