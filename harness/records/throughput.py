"""The record of one timing: of an implementation, a control or a limit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records.base import Record, Strict

Regime = Literal["latency", "cached", "streaming"]
CacheState = Literal["warm", "cold"]

CONTROL_SUFFIX = " (control)"
"""What the name of a record of role ``control`` has beyond that of its original."""


class Placement(Strict):
    """Where an array lies in memory; None where the system does not tell.

    Attributes:
        nodes: NUMA node to the share of the pages looked at that lie on it, 0 to 1.
        huge: share of its bytes in transparent huge pages, 0 to 1.
        alignment: largest power of two, up to 4096, that divides its address.
    """

    nodes: dict[str, float] | None = None
    huge: float | None = None
    alignment: int


class Conditions(Strict):
    """What else happened on the machine while a group was timed; None where it does not tell.

    Attributes:
        seconds: how long the group took.
        stolen: share of the processors' time that the hypervisor gave to others, 0 to 1.
        others: processors that other programs used, on average.
        mhz_first, mhz_last: clock of the usable processors at the start and at the end.
        throttled: times the processor reported that it slowed itself down for heat.
        drift: relative change of the baseline, the controls and the copies from the first round
            to the last (0.1: 10% slower).
        drift_p: p-value of that trend.
    """

    seconds: float
    stolen: float | None = None
    others: float | None = None
    mhz_first: float | None = None
    mhz_last: float | None = None
    throttled: int | None = None
    drift: float | None = None
    drift_p: float | None = None


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
    cache: CacheState | None = Field(
        default=None, description="cold: swept out of all caches before each call; None is warm"
    )
    fits: str | None = Field(default=None, description="how the two arrays compare with the caches")
    samples_ns: list[float] | None = Field(default=None, description="one a round, per call")
    preemptions: list[int] | None = Field(
        default=None, description="one a sample: how often a thread lost its processor to others"
    )
    calls_per_sample: int | None = None
    first_call_ns: float | None = Field(
        default=None, description="the very first call on this input, compilation included"
    )
    warm_up_ns: float | None = Field(
        default=None, description="from the end of the first call to that of the warm-up"
    )
    warm_up_calls: int | None = None
    warm_up_settled: bool | None = Field(
        default=None, description="False: calls were still getting faster at the cap"
    )
    threads_found: dict[str, int] | None = Field(
        default=None, description="pool of threads to its size, read back after the warm-up"
    )
    processors_used: float | None = Field(
        default=None, description="processor time / elapsed time of the median sample"
    )
    page_faults: float | None = Field(default=None, description="of the median sample, per call")
    input_placement: Placement | None = None
    output_placement: Placement | None = None
    peak_extra_bytes: int | None = Field(
        default=None,
        description="highest resident memory during one call, beyond input and output",
    )
    peak_method: str | None = Field(
        default=None, description="VmHWM (the kernel's high-water mark) or sampled"
    )
    conditions: Conditions | None = Field(
        default=None, description="of the group; on the record of the copy's control"
    )
    warnings: list[str] | None = Field(
        default=None, description="what is doubtful about this timing: cause and next action"
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
    input_seed: int | None = Field(
        default=None, description="of the input on which the timed outputs were judged"
    )
    unseen_ns: list[float] | None = Field(
        default=None, description="single calls on content that was never seen before"
    )
    repeated_ns: list[float] | None = Field(
        default=None, description="single calls, in turn with those, on the content of the timings"
    )
    unseen_cpu_ns: list[float] | None = Field(default=None, description="their processor time")
    repeated_cpu_ns: list[float] | None = Field(default=None, description="their processor time")
    ranked: bool | None = Field(default=None, description="False: struck out by the accuracy gate")
    noisy: bool | None = Field(default=None, description="the control's interval does not hold 1.0")
    implausible: bool | None = Field(
        default=None, description="faster than a copy of data beyond cache"
    )
