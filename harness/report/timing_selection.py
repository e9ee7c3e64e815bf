"""Selecting timings: groups that may share a plot, the headline point, what was struck out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.report.drawing.formatting import interval, plural
from harness.report.run_data import DTYPES, REGIMES, Cell, RunData, of


@dataclass(frozen=True)
class Group:
    """What timings must have in common to share a plot (beside the machine and the run)."""

    operation: str
    device: str | None
    dtype: str | None
    threads: int | None
    workload: str | None

    @property
    def title(self) -> str:
        threads = "threads as found" if self.threads is None else plural(self.threads, "thread")
        text = f"{self.dtype}, {threads}"
        if self.device not in (None, "cpu"):
            text += f", {self.device}"
        return text if self.operation == "softmax" else f"{self.operation}, {text}"

    @property
    def key(self) -> str:
        parts = (self.operation, self.device, self.dtype, self.threads, self.workload)
        return "-".join("none" if p is None else str(p) for p in parts)


@dataclass(frozen=True)
class Headline:
    """The one point of the curves that the overview shows."""

    group: Group
    regime: str
    classes: int


def group_of(cell: Cell) -> Group:
    return Group(
        str(cell.get("operation")),
        cell.get("device"),
        cell.get("dtype"),
        cell.get("threads"),
        cell.get("workload"),
    )


def is_cold(cell: Cell) -> bool:
    """Whether the caches were swept before each call: never in one plot with warm ones."""
    return cell.get("cache") == "cold"


def timed(run: RunData, group: Group | None = None, *, cold: bool = False) -> list[Cell]:
    """Throughput records of implementations, with or without a figure; warm or cold ones."""
    return [c for c in _timed(run).get(group, []) if is_cold(c) == cold]


@lru_cache(maxsize=1)
def _timed(run: RunData) -> Mapping[Group | None, list[Cell]]:
    found: dict[Group | None, list[Cell]] = {}
    for c in run.select("throughput"):
        if c.get("role") in (None, "implementation"):
            found.setdefault(None, []).append(c)
            found.setdefault(group_of(c), []).append(c)
    return found


@lru_cache(maxsize=1)
def groups(run: RunData) -> list[Group]:
    """The groups of a run with any timing: softmax first, float32 first among the formats."""
    found = {group_of(c) for c in timed(run) if c.get("median_ns") is not None}

    def rank(g: Group) -> tuple[object, ...]:
        dtype = DTYPES.index(g.dtype) if g.dtype in DTYPES else len(DTYPES)
        threads = -(g.threads or 0)
        return (g.operation != "softmax", g.operation, g.device != "cpu", str(g.device),
                g.dtype != "float32", dtype, threads, str(g.workload))  # fmt: skip

    return sorted(found, key=rank)


def limits(
    run: RunData, group: Group, regime: str, operations: Collection[str] = ("copy",)
) -> dict[str, list[Cell]]:
    """Limits that belong to a group's panel, copies only by default, in order of class count."""
    found: dict[str, list[Cell]] = {}
    for c in run.select("throughput", role="limit", regime=regime):
        same_device = c.get("device") in (None, group.device)
        same_threads = group.threads is None or c.get("threads") in (None, group.threads)
        same_dtype = c.get("dtype") in (None, group.dtype)
        fits = same_device and same_threads and same_dtype and not is_cold(c)
        fits = fits and c.get("operation") in operations
        fits = fits and (c.get("beside") or "softmax") == group.operation
        if fits and c.get("median_ns") is not None:
            found.setdefault(str(c["implementation"]), []).append(c)
    return {k: sorted(v, key=lambda c: c.get("classes") or 0) for k, v in sorted(found.items())}


def controls(run: RunData, group: Group | None = None) -> list[Cell]:
    """The records of the baseline, and of a copy, against themselves."""
    found = run.select("throughput", role="control")
    return [c for c in found if group in (None, group_of(c)) and not is_cold(c)]


def misses_one(control: Cell) -> bool | None:
    """Whether the interval of a control's ratio to itself leaves 1.0 out; None without one."""
    low, high = control.get("speedup_low"), control.get("speedup_high")
    return None if low is None or high is None else not low <= 1.0 <= high


def anchors(run: RunData) -> list[Cell]:
    """The records that tell the conditions of their group, warm and cold."""
    return [c for c in run.select("throughput") if c.get("conditions")]


def has_time(cell: Cell) -> bool:
    """Whether a timing may be drawn: there is one, and it is physically plausible."""
    return cell.get("median_ns") is not None and not cell.get("implausible")


def struck(cell: Cell) -> bool:
    """Whether the accuracy gate struck the timing out."""
    return cell.get("ranked") is False


def between(cell: Cell, field: str) -> str | None:
    """The interval of a figure of a timing as text, for the second line of an entry."""
    return interval(cell.get(f"{field}_low"), cell.get(f"{field}_high")) or None


def at_point(cells: Iterable[Cell], regime: str, classes: int) -> list[Cell]:
    return [c for c in cells if c.get("regime") == regime and c.get("classes") == classes]


def preferred(cells: Sequence[Cell]) -> Cell | None:
    """Of the timings of one point, the preallocated one, else the allocating one.

    Of several (repeated measurements) the slowest: never the best of N.
    """
    good = [c for c in cells if has_time(c)]
    if not good:
        return None
    first = [c for c in good if c.get("allocating") is False] or good
    return max(first, key=lambda c: float(c["median_ns"]))


def curve(cells: Sequence[Cell], regime: str) -> list[Cell]:
    """The preferred timing at each class count of a regime."""
    counts = sorted({c["classes"] for c in cells if c.get("regime") == regime and c.get("classes")})
    found = (preferred(at_point(cells, regime, n)) for n in counts)
    return [c for c in found if c is not None]


@lru_cache(maxsize=1)
def headline(run: RunData) -> Headline | None:
    """Streaming float32 softmax on all threads, at the class count near 1000 most were timed at."""
    for group in groups(run):
        cells = timed(run, group)
        for regime in reversed(REGIMES):
            at: dict[int, int] = {}
            for n in {c["classes"] for c in cells if c.get("classes")}:
                here = [c for c in at_point(cells, regime, n) if has_time(c)]
                at[n] = len({c["implementation"] for c in here})
            if any(at.values()):
                best = max(at, key=lambda n: (at[n], -abs(math.log(n / 1000)), -n))
                return Headline(group, regime, best)
    return None


def headline_cell(run: RunData, name: str) -> tuple[Cell | None, list[Cell]]:
    """The implementation's timing at the headline point, and all of its records there."""
    point = headline(run)
    if point is None:
        return None, of(timed(run), name)
    here = at_point(of(timed(run, point.group), name), point.regime, point.classes)
    if not here:  # died before its coordinates were known, or timed with other threads
        here = [c for c in of(timed(run), name) if c["status"] not in ("ok", "failed")]
    return preferred(here), here


def rejected(cells: Iterable[Cell]) -> tuple[str, str] | None:
    """Status and reason of a point whose only timings are implausible."""
    if any(c.get("implausible") for c in cells):
        return "implausible", "faster than a copy of data beyond the cache: rejected"
    return None
