"""Certified values, kept for the process by content: many are judged on the same input."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import reference
from harness.numerics.exact import Exact

_KEPT_BYTES = 384 << 20

_FUNCTIONS: dict[str, Callable[..., Exact | tuple[Exact, ...]]] = {
    "softmax": reference.softmax_exact,
    "log_softmax": reference.log_softmax_exact,
    "logsumexp": reference.logsumexp_exact,
    "softmax_backward": reference.softmax_backward_exact,
    "cross_entropy": reference.cross_entropy_exact,
}


class _Kept:
    """The least recently used go first beyond `_KEPT_BYTES`."""

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, tuple[Exact, ...]] = OrderedDict()
        self.size = 0

    def add(self, key: bytes, value: tuple[Exact, ...]) -> None:
        self.entries[key] = value
        self.size += sum(20 * e.size for e in value)
        while self.size > _KEPT_BYTES and len(self.entries) > 1:
            _, dropped = self.entries.popitem(last=False)
            self.size -= sum(20 * e.size for e in dropped)


_kept = _Kept()


def certified(operation: str, *arrays: NDArray[Any]) -> tuple[Exact, ...]:
    """The exact results of an operation along the last axis; not to be written to."""
    digest = hashlib.blake2b(operation.encode(), digest_size=16)
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.name)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    key = digest.digest()
    if key in _kept.entries:
        _kept.entries.move_to_end(key)
        return _kept.entries[key]
    value = _FUNCTIONS[operation](*arrays)
    found = value if isinstance(value, tuple) else (value,)
    _kept.add(key, found)
    return found
