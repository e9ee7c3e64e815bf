"""Memory that a process shares with those it starts, by a descriptor: nothing of it has a name."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_ALIGNMENT = 64
KEPT = 16 << 20
"""Bytes that are kept from one call to the next."""


def room(rows: int, classes: int, dtype: torch.dtype) -> int:
    """Bytes for a call: a target for each row, then the logits."""
    return _targets(rows) + rows * classes * dtype.itemsize


def _targets(rows: int) -> int:
    return -(-8 * rows // _ALIGNMENT) * _ALIGNMENT


def views(descriptor: int, rows: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(targets, logits), (rows,) and (rows, classes), in memory of `room` bytes or more."""
    size = room(rows, classes, dtype)
    memory = torch.frombuffer(mmap.mmap(descriptor, size), dtype=torch.uint8)
    start = _targets(rows)
    targets = memory[: 8 * rows].view(torch.int64)
    return targets, memory[start:size].view(dtype).view(rows, classes)


def make() -> int:
    """The descriptor of memory without any bytes yet."""
    return os.memfd_create("softmax-ranks")


def resize(descriptor: int, size: int) -> None:
    """Grow to `size` bytes; shrink to no less than `KEPT`."""
    now = os.fstat(descriptor).st_size
    if size > now or now > max(size, KEPT):
        os.ftruncate(descriptor, size)
