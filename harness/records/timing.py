"""What the records of timings have in common, on the host and on a device."""

from __future__ import annotations

import math
from typing import Literal

from harness.records.base import Record, maybe

CONTROL_SUFFIX = " (control)"
"""What the name of a record of role ``control`` has beyond that of its original."""


class TimingRecord(Record):
    """Time of one operation in one regime.

    Times are of one call, in nanoseconds; bandwidths in GB/s (1e9 bytes). Times and bandwidths are
    of the least samples of some visits; the medians stand beside them. Ratios are of visits that
    are neighbours in time, or of the least times, whichever are known better. `percent_of_limit`
    is of the bandwidth, against the best limit of the group. Runs that do not tell when their
    visits were have ratios of least times; in those without visits samples were taken one a round,
    and figures are of the median.
    """

    role: Literal["implementation", "control", "limit"] = "implementation"
    allocating: bool | None = maybe("True: the call allocates its result")
    array_bytes: int | None = maybe("bytes of the input; the output has as many")
    moved_bytes: int | None = maybe("that a call has to move; None: one read and one write")
    beside: str | None = maybe("of a limit: the operation in whose rounds it is; None is softmax")
    fits: str | None = maybe("how the arrays compare with the caches")
    samples_ns: list[float] | None = maybe("of one call, in order")
    visits: int | None = maybe("that took the samples, as many in each; None: one a round")
    visits_at: list[float] | None = maybe("when each of them was: seconds since 1970, UTC")
    visits_s: float | None = maybe("seconds that the visits took")
    processes: int | None = maybe(
        "that took the samples in equal parts, one after the other; None: one took all"
    )
    calls_per_sample: int | None = None
    first_call_ns: float | None = maybe("the very first call on this input, compilation included")
    warm_up_ns: float | None = maybe("from the end of the first call to that of the warm-up")
    warm_up_calls: int | None = None
    warm_up_settled: bool | None = maybe("False: calls were still getting faster at the cap")
    warnings: list[str] | None = maybe("what is doubtful about this timing: cause and next action")
    best_ns: float | None = maybe("the least sample: what the machine disturbed least")
    best_low_ns: float | None = maybe("what more visits might still find (95%); 0: not known")
    median_ns: float | None = maybe("what the machine gave as a rule")
    ci_low_ns: float | None = maybe("of the 95% interval of the median, in runs without visits")
    ci_high_ns: float | None = None
    gbps: float | None = maybe("bytes moved / best_ns")
    gbps_low: float | None = maybe("of its 95% interval")
    gbps_high: float | None = None
    baseline: str | None = None
    speedup: float | None = maybe("time of the baseline / time")
    speedup_low: float | None = maybe("of its 95% interval, widened by what the control differs")
    speedup_high: float | None = None
    precision: float | None = maybe("to which ratios were wanted: 0.05 is 5% to either side")
    undecided: str | None = maybe("why the ratio is not known to that, and what to do")
    limit: str | None = maybe("the kernel that percent_of_limit refers to")
    percent_of_limit: float | None = None
    gate_ulp: float | None = maybe("max ulp on sampled rows of this workload")
    gate_error_over_bound: float | None = None
    ranked: bool | None = maybe("False: struck out by the accuracy gate")
    noisy: bool | None = maybe("the ratio is not known to the precision wanted")
    implausible: bool | None = maybe("faster than the limit on data beyond the cache")

    @property
    def open_to_a_factor(self) -> bool:
        """Whether so little is known of the ratio, a factor of two or less, that it is not told."""
        low, high = self.speedup_low, self.speedup_high
        return low is not None and high is not None and high > _TELLING * low

    @property
    def time_ns(self) -> float | None:
        """The time that its other figures are of: the least; in runs without visits, the median."""
        return self.median_ns if self.best_ns is None else self.best_ns


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
