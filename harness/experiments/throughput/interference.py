"""What else happens on the machine while a group is timed: load, stolen time, heat.

Two readings of the kernel's counters, one before and one after. Each warning says the cause and the
next action.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.machine.sysfs import cpu_list
from harness.records import Record
from harness.records.throughput import Conditions

STOLEN = 0.02
OTHERS = 0.25
"""Beyond these a warning is given: a share of time, and processors."""

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_CPUS = "sys/devices/system/cpu"


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


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _usable(root: Path) -> list[int]:
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return cpu_list(_text(root / _CPUS / "online") or "")


def _clock(root: Path, cpus: Sequence[int]) -> float | None:
    files = [_text(root / _CPUS / f"cpu{c}/cpufreq/scaling_cur_freq") for c in cpus]
    values = [float(f) / 1000 for f in files if f is not None and f.strip().isdigit()]
    if not values:
        info = _text(root / "proc/cpuinfo") or ""
        values = [float(v) for v in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", info, re.MULTILINE)]
    return float(np.mean(values)) if values else None


def _throttled(root: Path, cpus: Sequence[int]) -> int | None:
    counts = [
        int(text)
        for c in cpus
        for kind in ("core", "package")
        if (text := _text(root / _CPUS / f"cpu{c}/thermal_throttle/{kind}_throttle_count"))
        is not None
        and text.strip().isdigit()
    ]
    return sum(counts) if counts else None


def _processor_seconds(root: Path, pid: int) -> float:
    """Of a process and of those children of its that have ended."""
    text = _text(root / f"proc/{pid}/stat")
    if text is None:
        return 0.0
    return sum(map(int, text.rpartition(")")[2].split()[11:15])) / _TICK


def read(pids: Iterable[int] = (), root: Path = Path("/")) -> Reading:
    """The counters now; `pids` are the processes whose time is no other's."""
    cpus = _usable(root)
    wanted = {f"cpu{c}" for c in cpus}
    times = [
        [int(v) / _TICK for v in line.split()[1:9]]
        for line in (_text(root / "proc/stat") or "").splitlines()
        if line.split(" ", 1)[0] in wanted
    ]
    # user, nice, system, idle, iowait, irq, softirq, steal (proc(5)); user includes guests
    known = bool(times) and all(len(t) == 8 for t in times)
    return Reading(
        time.monotonic(),
        sum(sum(t[:3]) + sum(t[5:7]) for t in times) if known else None,
        sum(t[7] for t in times) if known else None,
        sum(map(sum, times)) if known else None,
        sum(_processor_seconds(root, p) for p in pids),
        _clock(root, cpus),
        _throttled(root, cpus),
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
