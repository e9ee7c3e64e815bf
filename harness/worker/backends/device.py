"""What the harness needs of an accelerator beside arrays: events, copies, graphs, memory.

A `Backend` whose arrays live on a device brings a `Device`; `device_timer` times with
nothing else, so that a simulated device tests all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class DeviceFacts:
    """The current device.

    Attributes:
        name: as its driver gives it.
        l2_bytes: of its last-level cache.
        free_bytes, total_bytes: of its memory, now.
    """

    name: str
    l2_bytes: int
    free_bytes: int
    total_bytes: int


Limit = Callable[[Sequence[Any], Any], None]
"""A kernel that only moves bytes: from some arrays to another, which is None if it only reads."""


@dataclass(frozen=True)
class Device:
    """A device; `native` is an array of the backend, of two dimensions, contiguous.

    Attributes:
        facts: what it is, and how much memory is free.
        empty: an uninitialised native array with the columns and format of a native array, and
            so many rows.
        fill: write a native array's rows (second argument) to another's (first), over and over
            until that is full; the full one, which is another array where the library's arrays
            cannot be written to.
        rows: the rows with the given indices, as a new native array; of one dimension, too.
        limits: kernels that do nothing but move bytes, by name: ``copy_*`` write to their output
            what they read from the first input, ``read_*`` only read that, ``add_*`` read two and
            write one. Asked for on the current stream, so that a graph can hold them, and not
            waited for.
        record: a new event with timing, recorded on the legacy default stream, which waits for
            all streams that block.
        wait: wait on the host for an event.
        elapsed_ns: time from one event to another, ns.
        synchronize: wait for all streams of the device, non-blocking ones too.
        free: give memory that the library holds in reserve back to the device.
        capture: a graph of the work that a function asks for; the result launches it, once, on
            the default stream. None where the library has no graphs.
        clock: ``"host"`` where an event is a wait for the device and a reading of the host's
            clock, because the library's streams cannot be reached.
    """

    facts: Callable[[], DeviceFacts]
    empty: Callable[[Any, int], Any]
    fill: Callable[[Any, Any], Any]
    rows: Callable[[Any, Sequence[int]], Any]
    limits: Mapping[str, Limit]
    record: Callable[[], Any]
    wait: Callable[[Any], None]
    elapsed_ns: Callable[[Any, Any], float]
    synchronize: Callable[[], None]
    free: Callable[[], None]
    capture: Callable[[Callable[[], None]], Callable[[], None]] | None = None
    clock: Literal["events", "host"] = "events"


def tile(target: Any, block: Any, write: Callable[[Any, Any], None]) -> None:
    """Write a block's rows to a target's, over and over, a piece at a time.

    Args:
        write: writes the second array to the first, of the same shape.
    """
    for start in range(0, target.shape[0], block.shape[0]):
        piece = target[start : start + block.shape[0]]
        write(piece, block[: piece.shape[0]])
