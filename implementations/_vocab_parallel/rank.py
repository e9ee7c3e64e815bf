"""One rank that waits for work: the process that `team` starts, and its end of the conversation.

It is told what to do in lines of JSON, finds logits and targets in shared memory, writes its
results there, and answers with a line. It ends where its channel closes, and where the process
that started it ends, however that ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from implementations._vocab_parallel import memory

if TYPE_CHECKING:
    from torch import Tensor


def kind_of_work(name: str) -> Any:
    """The class of a ``"module:class"``."""
    module, _, kind = name.partition(":")
    return getattr(import_module(module), kind)


def end_with(parent: int) -> None:
    """Be killed when the process `parent` ends: a channel may be open in what it forked."""
    watched = os.pidfd_open(parent)
    if os.getppid() != parent:
        os._exit(0)

    def wait() -> None:
        select.select([watched], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def own_part(
    work: Any, rank: int, ranks: int, operation: str, logits: Tensor, targets: Tensor | None
) -> tuple[Tensor, ...]:
    """Do one rank's part of a call, and leave what its classes have in their place in `logits`."""
    classes = logits.shape[1]
    sizes = work.sizes(classes, ranks)
    first = sum(sizes[:rank])
    shard = logits[:, first : first + sizes[rank]]
    found: tuple[Tensor, ...] = work(operation, shard, classes, targets)
    for each in found:
        if each.ndim == 2:
            shard.copy_(each)
    return found


def main() -> None:
    """Serve the process that started this one; its orders are the last argument, in JSON."""
    orders = json.loads(sys.argv[-1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who is meant tells us
    end_with(orders["parent"])
    torch.set_num_threads(1)
    channel = socket.socket(fileno=orders["channel"])

    def answer(**words: Any) -> None:
        channel.sendall(json.dumps(words).encode() + b"\n")

    rank, ranks = orders["rank"], orders["ranks"]
    try:
        kind = kind_of_work(orders["work"])
        answer(imported=True)
        store = dist.FileStore(orders["store"], ranks)
        work = kind(store, rank, ranks, orders["timeout_s"])
        answer(connected=True)
        for line in channel.makefile("rb"):
            order = json.loads(line)
            dtype = getattr(torch, order["dtype"])
            targets, logits = memory.views(orders["memory"], *order["shape"], dtype)
            given = targets if order["targets"] else None
            own_part(work, rank, ranks, order["operation"], logits, given)
            answer(done=True)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
    os._exit(0)  # the others see the end at once; nothing here is to be tidied
