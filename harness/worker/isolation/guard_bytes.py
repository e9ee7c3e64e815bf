"""Guarded memory: arrays with a page of known bytes on either side, to see who writes past an end.

A write beyond the guards is not seen; it hits other memory or the end of a mapping.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GUARD_BYTES = 4096
_ALIGNMENT = 64
_PATTERN = np.resize(np.array([0xA5, 0x5A, 0xC3, 0x3C, 0x96], np.uint8), GUARD_BYTES)
"""No float format's NaN, infinity or zero, and of a period that no element's width divides."""


@dataclass(frozen=True)
class Guarded:
    """Bytes between two guards, all of them in one block."""

    block: NDArray[np.uint8]
    start: int
    nbytes: int

    @property
    def body(self) -> NDArray[np.uint8]:
        """The bytes in the middle, uninitialised, writable."""
        return self.block[self.start : self.start + self.nbytes]

    def broken(self) -> str | None:
        """Where a guard was overwritten, for a reason; None if both are whole."""
        end = self.start + self.nbytes
        for guard, where in (
            (self.block[self.start - GUARD_BYTES : self.start], "before the start"),
            (self.block[end : end + GUARD_BYTES], "past the end"),
        ):
            if not np.array_equal(guard, _PATTERN):
                touched = int(np.count_nonzero(guard != _PATTERN))
                return f"{touched} bytes or more {where}"
        return None

    def while_used(self) -> Callable[[], Guarded | None]:
        """Gives these guards for as long as an array lies between them, then None."""
        block, start, nbytes = weakref.ref(self.block), self.start, self.nbytes

        def find() -> Guarded | None:
            found = block()
            return None if found is None else Guarded(found, start, nbytes)

        return find


def guarded(nbytes: int, misalignment: int = 0) -> Guarded:
    """Fresh bytes between guards; the address of the body is `misalignment` modulo 64."""
    block = np.empty(nbytes + 2 * GUARD_BYTES + _ALIGNMENT, np.uint8)
    address = block.__array_interface__["data"][0] + GUARD_BYTES
    start = GUARD_BYTES + (misalignment - address) % _ALIGNMENT
    block[start - GUARD_BYTES : start] = _PATTERN
    block[start + nbytes : start + nbytes + GUARD_BYTES] = _PATTERN
    return Guarded(block, start, nbytes)


def guarded_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[Any], Guarded]:
    """An uninitialised C-contiguous array between guards, and those."""
    made = guarded(math.prod(shape) * dtype.itemsize)
    return made.body.view(dtype).reshape(shape), made
