"""The record of one timing on a device: of an implementation, a control or a limit."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Strict, maybe
from harness.records.timing import TimingRecord


class DeviceClock(Strict):
    """The device's own account of itself at one moment; None where it does not tell.

    Attributes:
        sm_mhz, memory_mhz: clocks.
        celsius: temperature of the chip.
        watts: power drawn.
        throttled: why its clock is held down, in NVML's words; empty where it is not.
        source: ``"nvml"``; None with `reason` where it could not be asked.
    """

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    celsius: float | None = None
    watts: float | None = None
    throttled: list[str] | None = None
    source: str | None = None
    reason: str | None = None


class DeviceThroughputRecord(TimingRecord):
    """Time of one operation on a device, in one regime.

    Times are between two events around many calls, per call. Bandwidth counts each array that the
    operation has to read or to write, once (`moved_bytes`), whatever the implementation does. The
    limits are kernels that do nothing but read and write as much. Copies between host and device
    have fields of their own, and are in no other.
    """

    experiment: Literal["device_throughput"] = "device_throughput"
    regime: Literal["streaming", "launches", "graph"] | None = maybe(
        "streaming: beyond L2; launches: one row, a launch a call; graph: the same "
        "through a CUDA graph"
    )
    wanted_bytes: int | None = maybe("where memory lacked: what array_bytes was to be")
    buffers: int | None = maybe("sets of input and output that calls take in turn")
    device_name: str | None = None
    clock: Literal["events", "host"] | None = maybe(
        "what took the times: events on the device, or the host, which waits for the "
        "device at both ends of a window"
    )
    passes: int | None = maybe("over memory, as declared")
    after_ns: list[float] | None = maybe("one a sample: work that went on after the end event")
    host_to_device_ns: float | None = maybe(
        "median time in which transfer_bytes went to the device"
    )
    device_to_host_ns: float | None = None
    transfer_bytes: int | None = None
    clock_before: DeviceClock | None = None
    clock_after: DeviceClock | None = None
