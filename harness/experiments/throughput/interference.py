"""What else happens on the machine while a group is timed: load, stolen time, heat.

Two readings of the kernel's counters, one before and one after. Each warning says the cause and the
next action.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.records import Record
from harness.records.throughput import Conditions

STOLEN = 0.02
OTHERS = 0.25
"""Beyond these a warning is given: a share of time, and processors."""

_THROTTLED = "sys/devices/system/cpu/cpu{}/thermal_throttle/{}_throttle_count"


@dataclass(frozen=True)
class Reading:
    """The kernel's counters at one moment.

    Attributes:
        when: seconds of a steady clock.
        busy, stolen, total: seconds summed over the usable processors; None where unknown.
        ours: processor seconds of the processes that were named.
        mhz: mean clock of the usable processors.
        throttled: count of events in which a processor slowed itself down.
    """

    when: float
    busy: float | None
    stolen: float | None
    total: float | None
    ours: float
    mhz: float | None
    throttled: int | None


def read(pids: Iterable[int] = (), root: Path = Path("/")) -> Reading:
    """The counters now; `pids` are the processes whose time is no other's.

    Args:
        root: where the counts of throttling are looked for.
    """
    every = psutil.cpu_times(percpu=True)
    affinity = getattr(os, "sched_getaffinity", lambda _: range(len(every)))(0)
    cpus = [cpu for cpu in affinity if cpu < len(every)]
    times = [every[cpu] for cpu in cpus]
    known = bool(times) and hasattr(times[0], "steal")  # as Linux tells; user includes guests
    ours = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            ours += sum(psutil.Process(pid).cpu_times()[:4])  # and of children that have ended
    throttled = []
    for cpu in cpus:
        for kind in ("core", "package"):
            with suppress(OSError, ValueError):
                throttled.append(int((root / _THROTTLED.format(cpu, kind)).read_text("ascii")))
    frequency = psutil.cpu_freq()
    return Reading(
        time.monotonic(),
        sum(sum(t[:3]) + t.irq + t.softirq for t in times) if known else None,
        sum(t.steal for t in times) if known else None,
        sum(sum(t[:8]) for t in times) if known else None,
        ours,
        frequency.current if frequency else None,
        sum(throttled) if throttled else None,
    )


def conditions(before: Reading, after: Reading) -> Conditions:
    """What happened between two readings."""
    seconds = after.when - before.when
    stolen = others = None
    if None not in (before.total, after.total) and after.total > before.total:  # type: ignore[operator]
        total = after.total - before.total  # type: ignore[operator]
        stolen = (after.stolen - before.stolen) / total  # type: ignore[operator]
        busy = after.busy - before.busy - (after.ours - before.ours)  # type: ignore[operator]
        others = max(0.0, busy) / seconds if seconds > 0 else None
    throttled = None
    if before.throttled is not None and after.throttled is not None:
        throttled = after.throttled - before.throttled
    return Conditions(
        seconds=seconds, stolen=stolen, others=others, mhz_first=before.mhz, mhz_last=after.mhz,
        throttled=throttled,
    )  # fmt: skip


_CAUSES = {
    "stolen": "the hypervisor gave {0:.1%} of the processors' time to other machines; run again "
    "at a quieter time, or on a machine of its own",
    "others": "other programs used {0:.2g} processors; stop them and run again",
    "throttled": "the processors slowed themselves down for heat, {0:.0f} times; cool the machine "
    "or pause between runs",
}


def troubles(found: Conditions) -> dict[str, float]:
    """Which causes of doubt there were, with their size."""
    sizes: dict[str, float] = {}
    if found.stolen is not None and found.stolen > STOLEN:
        sizes["stolen"] = found.stolen
    if found.others is not None and found.others > OTHERS:
        sizes["others"] = found.others
    if found.throttled:
        sizes["throttled"] = found.throttled
    return sizes


def warnings_of(found: Conditions) -> list[str]:
    """The troubles of one group as sentences: cause and next action."""
    return [_CAUSES[cause].format(size) for cause, size in troubles(found).items()]


def summarise(records: Iterable[Record]) -> list[str]:
    """The warnings of a run, three lines at most: how much is undecided, why, and other doubts."""
    groups = ratios = 0
    open_ones: list[Record] = []
    sizes: dict[str, list[float]] = {}
    others: Counter[str] = Counter()
    for record in records:
        found = getattr(record, "conditions", None)
        if found is not None:  # on one record of each group
            groups += 1
            for cause, size in troubles(found).items():
                sizes.setdefault(cause, []).append(size)
        elif getattr(record, "warnings", None):
            others[record.implementation] += 1
        ratios += getattr(record, "noisy", None) is not None
        if getattr(record, "noisy", None):
            open_ones.append(record)
    lines = []
    if open_ones:
        first = getattr(open_ones[0], "undecided", None)
        example = f"; {open_ones[0].implementation}: {first}" if first else ""
        lines.append(
            f"timings: {len(open_ones)} of {ratios} are not known to the precision wanted{example}"
        )
    if sizes:
        told = (
            f"{_CAUSES[c].format(max(v))} ({len(v)} of {groups} groups)" for c, v in sizes.items()
        )
        lines.append(f"timings: {'; '.join(told)}")
    if others:
        names = ", ".join(f"{n} ({c})" for n, c in sorted(others.items()))
        lines.append(
            f"timings with doubts of their own (threads, warm-up, memory), by implementation: "
            f"{names}; the throughput page gives each with its cause"
        )
    return lines
