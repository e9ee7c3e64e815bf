"""What the records of timings have in common, on the host and on a device."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from harness.records.base import Record

CONTROL_SUFFIX = " (control)"
"""What the name of a record of role ``control`` has beyond that of its original."""


class TimingRecord(Record):
    """Time of one operation in one regime.

    Times are of one call, in nanoseconds; bandwidths in GB/s (1e9 bytes), of the least time.
    Every sample has one of the baseline beside it, and the ratio is the median of those pairs.
    `percent_of_limit` is against the best limit of the group, by the ratios of both to the
    baseline. Runs of before December 2026 have no pairs: their samples were taken in rounds of the
    whole group, and their bandwidths are of the median.
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
    samples_ns: list[float] | None = Field(default=None, description="one a pair, per call")
    baseline_ns: list[float] | None = Field(
        default=None, description="the baseline's sample beside each; None of the baseline itself"
    )
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
    best_ns: float | None = Field(
        default=None, description="the least sample: what the machine disturbed least"
    )
    median_ns: float | None = Field(default=None, description="what the machine gave as a rule")
    ci_low_ns: float | None = Field(default=None, description="of the 95% interval of the median")
    ci_high_ns: float | None = None
    gbps: float | None = Field(default=None, description="bytes moved / best_ns")
    gbps_low: float | None = Field(
        default=None, description="the same by the median of the least times of ten blocks"
    )
    gbps_high: float | None = None
    baseline: str | None = None
    speedup: float | None = Field(
        default=None, description="baseline time / time, the median of the pairs"
    )
    speedup_low: float | None = Field(
        default=None, description="of its 95% interval, widened by what the control differs"
    )
    speedup_high: float | None = None
    looks: int | None = Field(default=None, description="how often the pairs were looked at")
    pair_seconds: float | None = Field(default=None, description="that the pairs took")
    precision: float | None = Field(
        default=None, description="to which ratios were wanted: 0.05 is 5% to either side"
    )
    undecided: str | None = Field(
        default=None, description="why the ratio is not known to that, and what to do"
    )
    limit: str | None = Field(
        default=None, description="the kernel that percent_of_limit refers to"
    )
    percent_of_limit: float | None = None
    gate_ulp: float | None = Field(
        default=None, description="max ulp on sampled rows of this workload"
    )
    gate_error_over_bound: float | None = None
    ranked: bool | None = Field(default=None, description="False: struck out by the accuracy gate")
    noisy: bool | None = Field(
        default=None, description="the ratio is not known to the precision wanted"
    )
    implausible: bool | None = Field(
        default=None, description="faster than the limit on data beyond the cache"
    )

    @property
    def open_to_a_factor(self) -> bool:
        """Whether so little is known of the ratio, a factor of two or less, that it is not told."""
        low, high = self.speedup_low, self.speedup_high
        return low is not None and high is not None and high > _TELLING * low


_TELLING = 2.0


def times_as_fast(mine: TimingRecord, other: TimingRecord) -> tuple[float, float, float] | None:
    """The other's time over mine, and its interval, by the ratios of both to the same baseline.

    None where one of them has no such ratio.
    """
    value, reach = 1.0, 0.0
    for record, sign in ((mine, 1.0), (other, -1.0)):
        if not record.speedup or record.baseline != mine.baseline:
            return None
        value *= record.speedup**sign
        low, high = record.speedup_low or 0.0, record.speedup_high or math.inf
        reach = math.hypot(reach, math.log(high / low) / 2.0 if low else math.inf)
    reach = min(reach, 700.0)
    return value, value * math.exp(-reach), value * math.exp(reach)
