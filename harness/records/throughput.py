"""The record of one timing: of an implementation, a control or a limit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records.base import Record

Regime = Literal["latency", "cached", "streaming"]


class ThroughputRecord(Record):
    """Time of one operation in one regime.

    Times are of one call, in nanoseconds; bandwidth counts one read and one write of the array,
    whatever the implementation does, in GB/s (1e9 bytes). Intervals are 95% bootstrap intervals
    of the median. `percent_of_limit` is against the best copy of the same bytes and threads,
    taken in the same rounds.
    """

    experiment: Literal["throughput"] = "throughput"
    role: Literal["implementation", "control", "limit"] = "implementation"
    regime: Regime | None = None
    allocating: bool | None = Field(default=None, description="True: the call allocates its result")
    array_bytes: int | None = Field(
        default=None, description="bytes of the input; the output has as many"
    )
    fits: str | None = Field(default=None, description="how the two arrays compare with the caches")
    samples_ns: list[float] | None = Field(default=None, description="one a round, per call")
    preemptions: list[int] | None = Field(
        default=None, description="one a sample: how often a thread lost its processor to others"
    )
    calls_per_sample: int | None = None
    first_call_ns: float | None = Field(
        default=None, description="compilation and warm-up included"
    )
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
    gate_ulp: float | None = Field(
        default=None, description="max ulp on sampled rows of this workload"
    )
    gate_error_over_bound: float | None = None
    ranked: bool | None = Field(default=None, description="False: struck out by the accuracy gate")
    noisy: bool | None = Field(default=None, description="the control's interval does not hold 1.0")
    implausible: bool | None = Field(
        default=None, description="faster than a copy of data beyond cache"
    )
