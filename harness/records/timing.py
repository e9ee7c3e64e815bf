"""What the records of timings have in common, on the host and on a device."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records.base import Record

CONTROL_SUFFIX = " (control)"
"""What the name of a record of role ``control`` has beyond that of its original."""


class TimingRecord(Record):
    """Time of one operation in one regime.

    Times are of one call, in nanoseconds; bandwidths in GB/s (1e9 bytes). Intervals are 95%
    bootstrap intervals of the median. `percent_of_limit` is against the best of the limits taken
    in the same rounds.
    """

    role: Literal["implementation", "control", "limit"] = "implementation"
    allocating: bool | None = Field(default=None, description="True: the call allocates its result")
    array_bytes: int | None = Field(
        default=None, description="bytes of the input; the output has as many"
    )
    moved_bytes: int | None = Field(
        default=None, description="that a call has to move; None: one read and one write"
    )
    beside: str | None = Field(
        default=None, description="of a limit: the operation in whose rounds it is; None is softmax"
    )
    fits: str | None = Field(default=None, description="how the arrays compare with the caches")
    samples_ns: list[float] | None = Field(default=None, description="one a round, per call")
    processes: int | None = Field(
        default=None,
        description="that took the samples in equal parts, one after the other; None: one took all",
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
    limit: str | None = Field(
        default=None, description="the kernel that percent_of_limit refers to"
    )
    percent_of_limit: float | None = None
    gate_ulp: float | None = Field(
        default=None, description="max ulp on sampled rows of this workload"
    )
    gate_error_over_bound: float | None = None
    ranked: bool | None = Field(default=None, description="False: struck out by the accuracy gate")
    noisy: bool | None = Field(default=None, description="the control's interval does not hold 1.0")
    implausible: bool | None = Field(
        default=None, description="faster than the limit on data beyond the cache"
    )
