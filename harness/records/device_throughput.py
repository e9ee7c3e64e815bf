"""The record of one timing on a device: of an implementation, a control or a limit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records.base import Record, Strict


class DeviceClock(Strict):
    """The device's own account of itself at one moment; None where it does not tell.

    Attributes:
        sm_mhz, memory_mhz: clocks.
        celsius: temperature of the chip.
        watts: power drawn.
        throttled: why its clock is held down, in NVML's words; empty where it is not.
        source: ``"nvml"`` or ``"nvidia-smi"``; None with `reason` where neither could be asked.
    """

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    celsius: float | None = None
    watts: float | None = None
    throttled: list[str] | None = None
    source: str | None = None
    reason: str | None = None


class DeviceThroughputRecord(Record):
    """Time of one operation on a device, in one regime.

    Times are between two events around many calls, per call, in nanoseconds; bandwidth counts one
    read and one write of the array, in GB/s (1e9 bytes). Intervals are 95% bootstrap intervals of
    the median. Copies between host and device have fields of their own, and are in no other.
    """

    experiment: Literal["device_throughput"] = "device_throughput"
    role: Literal["implementation", "control", "limit"] = "implementation"
    regime: Literal["streaming", "launches", "graph"] | None = Field(
        default=None,
        description="streaming: beyond L2; launches: one row, a launch a call; graph: the same "
        "through a CUDA graph",
    )
    allocating: bool | None = Field(default=None, description="True: the call allocates its result")
    array_bytes: int | None = Field(default=None, description="of the input, and of the output")
    wanted_bytes: int | None = Field(
        default=None, description="where memory lacked: what array_bytes was to be"
    )
    buffers: int | None = Field(
        default=None, description="pairs of input and output that calls take in turn"
    )
    fits: str | None = Field(default=None, description="how the buffers compare with L2")
    device_name: str | None = None
    passes: int | None = Field(default=None, description="over memory, as declared")
    samples_ns: list[float] | None = Field(default=None, description="one a round, per call")
    after_ns: list[float] | None = Field(
        default=None, description="one a sample: work that went on after the end event"
    )
    calls_per_sample: int | None = None
    first_call_ns: float | None = Field(default=None, description="compilation included")
    warm_up_ns: float | None = None
    warm_up_calls: int | None = None
    warm_up_settled: bool | None = None
    median_ns: float | None = None
    ci_low_ns: float | None = None
    ci_high_ns: float | None = None
    gbps: float | None = None
    gbps_low: float | None = None
    gbps_high: float | None = None
    baseline: str | None = None
    speedup: float | None = Field(default=None, description="baseline time / time, paired by round")
    speedup_low: float | None = None
    speedup_high: float | None = None
    limit: str | None = Field(default=None, description="the copy that percent_of_limit refers to")
    percent_of_limit: float | None = None
    host_to_device_ns: float | None = Field(
        default=None, description="median time in which transfer_bytes went to the device"
    )
    device_to_host_ns: float | None = None
    transfer_bytes: int | None = None
    gate_ulp: float | None = Field(
        default=None, description="largest error, in ulp, of the last timed output and of new input"
    )
    gate_error_over_bound: float | None = None
    ranked: bool | None = None
    noisy: bool | None = Field(default=None, description="the control's interval does not hold 1.0")
    implausible: bool | None = Field(default=None, description="above the copy limit, beyond L2")
    clock_before: DeviceClock | None = None
    clock_after: DeviceClock | None = None
    warnings: list[str] | None = None
