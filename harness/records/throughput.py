"""The record of one timing: of an implementation, a control or a limit."""

from __future__ import annotations

from typing import Literal

from harness.records.base import Strict, maybe
from harness.records.timing import TimingRecord

Regime = Literal["latency", "cached", "streaming"]
CacheState = Literal["warm", "cold"]


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
        drift, drift_p: of runs with rounds: relative change of unchanged code from the first round
            to the last, and its p-value.
    """

    seconds: float
    stolen: float | None = None
    others: float | None = None
    mhz_first: float | None = None
    mhz_last: float | None = None
    throttled: int | None = None
    drift: float | None = None
    drift_p: float | None = None


class ThroughputRecord(TimingRecord):
    """Time of one operation in one regime, on the host.

    Bandwidth counts each array that the operation has to read or to write, once (`moved_bytes`),
    whatever the implementation does. The limits are copies with the same threads of an array as
    large as the input.
    """

    experiment: Literal["throughput"] = "throughput"
    regime: Regime | None = None
    cache: CacheState | None = maybe("cold: swept out of all caches before each call; None is warm")
    preemptions: list[int] | None = maybe(
        "of runs with rounds, one a sample: how often a thread lost its processor"
    )
    threads_found: dict[str, int] | None = maybe(
        "pool of threads to its size, read back after the warm-up"
    )
    cores: int | None = maybe(
        "that it was bound to, where it could use several: one where it was seen to use no more"
    )
    spins_ms: float | None = maybe("how long its threads go on running after a call")
    disturbed: float | None = maybe(
        "share of the visits that found other work on its cores, a neighbour's too: "
        "they gave no sample where there was time for others"
    )
    processors_used: float | None = maybe("processor time / elapsed time of the median sample")
    page_faults: float | None = maybe("of the median sample, per call")
    instructions: float | None = maybe("of one call, in user mode, by the processor's own counters")
    cycles: float | None = None
    cache_misses: float | None = None
    input_placement: Placement | None = None
    output_placement: Placement | None = None
    peak_extra_bytes: int | None = maybe(
        "highest resident memory during one call, beyond input and output"
    )
    peak_method: str | None = maybe("VmHWM (the kernel's high-water mark) or sampled")
    conditions: Conditions | None = maybe("of the group; on the record of the copy's control")
    input_seed: int | None = maybe("of the input on which the timed outputs were judged")
    unseen_ns: list[float] | None = maybe("single calls on content that was never seen before")
    repeated_ns: list[float] | None = maybe(
        "single calls, in turn with those, on the content of the timings"
    )
    unseen_cpu_ns: list[float] | None = maybe("their processor time")
    repeated_cpu_ns: list[float] | None = maybe("their processor time")
