"""What the kernel's files say of processors, caches and the limits of a control group.

Everything is read below `root`, so that tests can lay out machines of their own, and is None where
it is unknown, never guessed. Workers read them too: this imports little.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Cache:
    """One cache of the first usable core: its bytes and how many logical cores share it."""

    bytes: int
    shared_by: int


def read_text(path: Path) -> str | None:
    """A file of the kernel, stripped; None where there is none or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def cpu_list(text: str) -> list[int]:
    """The numbers of a kernel list such as ``0-3,8``."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def usable_cpus() -> list[int]:
    """Numbers of the logical processors that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def _control_groups(root: Path, controller: str) -> list[Path]:
    """Folders of this process's control group and its ancestors, versions 1 and 2."""
    folders: list[Path] = []
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if controllers else "")
        inner = Path(path.strip("/"))
        folders += [base / parent for parent in (inner, *inner.parents)]
    return folders


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the container may use; None without a limit."""
    quotas: list[float] = []
    for folder in _control_groups(root, "cpu"):
        text = read_text(folder / "cpu.max")
        if text is None:
            quota = read_text(folder / "cpu.cfs_quota_us")
            text = f"{quota} {read_text(folder / 'cpu.cfs_period_us')}"
        limit, _, period = text.partition(" ")
        if limit.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that the container may use; None without a limit."""
    limits = [
        int(text)
        for folder in _control_groups(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := read_text(folder / name)) is not None and text.isdigit()
    ]
    return min(limits, default=None)


def _bytes(text: str | None) -> int | None:
    match = re.fullmatch(r"(\d+)([KMG]?)", text or "")
    return int(match[1]) * 1024 ** " KMG".index(match[2] or " ") if match else None


def caches_of(root: Path, cpu: int) -> dict[int, Cache]:
    """Data and unified caches of one processor, by level."""
    caches: dict[int, Cache] = {}
    for folder in sorted((root / CPUS / f"cpu{cpu}/cache").glob("index*")):
        size, level = _bytes(read_text(folder / "size")), read_text(folder / "level")
        shared = cpu_list(read_text(folder / "shared_cpu_list") or "")
        if size and level and shared and read_text(folder / "type") in ("Data", "Unified"):
            caches[int(level)] = Cache(bytes=size, shared_by=len(shared))
    return caches


def data_caches(root: Path = Path("/")) -> tuple[Cache, ...]:
    """Data and unified caches of the first usable core, the nearest first; empty if unknown."""
    found = caches_of(root, usable_cpus()[0])
    return tuple(found[level] for level in sorted(found))
