"""What the harness needs of an accelerator beside arrays: events, copies, graphs, memory.

A `Backend` whose arrays live on a device brings a `Device`; `harness.device_stopwatch` times with
nothing else, so that a simulated device tests all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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


@dataclass(frozen=True)
class Device:
    """A device; `native` is an array of the backend, of two dimensions, contiguous.

    Attributes:
        facts: what it is, and how much memory is free.
        empty: an uninitialised native array with the columns and format of a native array, and
            so many rows.
        fill: write a native array's rows (second argument) to another's (first), over and over
            until that is full.
        rows: the rows with the given indices, as a new native array.
        copies: kernels that write to the first argument as many bytes as they read from the
            second, by name: the limits. Asked for on the current stream, so that a graph can
            hold them, and not waited for.
        record: a new event with timing, recorded on the legacy default stream, which waits for
            all streams that block.
        wait: wait on the host for an event.
        elapsed_ns: time from one event to another, ns.
        synchronize: wait for all streams of the device, non-blocking ones too.
        capture: a graph of the work that a function asks for; the result launches it, once, on
            the default stream.
        free: give memory that the library holds in reserve back to the device.
    """

    facts: Callable[[], DeviceFacts]
    empty: Callable[[Any, int], Any]
    fill: Callable[[Any, Any], None]
    rows: Callable[[Any, Sequence[int]], Any]
    copies: Mapping[str, Callable[[Any, Any], None]]
    record: Callable[[], Any]
    wait: Callable[[Any], None]
    elapsed_ns: Callable[[Any, Any], float]
    synchronize: Callable[[], None]
    capture: Callable[[Callable[[], None]], Callable[[], None]]
    free: Callable[[], None]
