"""The page of timings on a device: bandwidth against the copy, one row apart, clocks, transfers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from harness.report.drawing.formatting import (
    byte_count,
    duration,
    figure,
    integer,
    interval,
    percent,
)
from harness.report.drawing.sanitize import slug
from harness.report.drawing.tables import Column, Entry, Table, missing, pivot, texts, words
from harness.report.run_data import Cell, RunData

LEAD = (
    "Times between events on the device, of calls that take their buffers in turn, interleaved "
    "with kernels that do nothing but read and write as many arrays, which are the limits: a copy "
    "for softmax, reading alone for the loss. Each array that the operation has to read or write "
    "is counted once, whatever the implementation does. Copies between host and device are in no "
    "time but their own. What is faster than the limit, beyond L2, is a mistake in the measurement "
    "and is rejected."
)
NOT_RUN = "Not run on a GPU"
TITLES = {
    "streaming": "Bandwidth beyond L2",
    "launches": "One row, launch by launch",
    "graph": "One row, through a CUDA graph",
}
_EXPERIMENT = "device_throughput"


@dataclass(frozen=True)
class Group:
    """What timings on a device must have in common to share a plot."""

    operation: str
    regime: str
    dtype: str

    @property
    def key(self) -> str:
        """In names of files; softmax, which once was all, goes without."""
        own = () if self.operation == "softmax" else (self.operation,)
        return slug("-".join((*own, self.regime, self.dtype)))


def _operation(cell: Cell) -> str:
    """That in whose rounds a timing was taken; limits have one of their own."""
    limit = cell.get("role") == "limit"
    return str((cell.get("beside") or "softmax") if limit else cell.get("operation"))


def groups(run: RunData) -> list[Group]:
    """What was measured or tried, in the order of the page."""
    found = {
        Group(_operation(c), str(c["regime"]), str(c["dtype"]))
        for c in run.select(_EXPERIMENT)
        if c.get("regime")
    }
    order = list(TITLES)
    return sorted(
        found,
        key=lambda g: (
            g.operation != "softmax",
            g.operation,
            order.index(g.regime),
            g.dtype != "float32",
            g.dtype,
        ),
    )


def cells_of(run: RunData, group: Group, **equal: Any) -> list[Cell]:
    """The records of a group, limits and controls among them."""
    found = run.select(_EXPERIMENT, regime=group.regime, dtype=group.dtype, **equal)
    return [c for c in found if _operation(c) == group.operation]


def title(group: Group) -> str:
    tail = "" if group.operation == "softmax" else f", {group.operation}"
    return f"{TITLES[group.regime]}{tail}, {group.dtype}"


def _names(cells: Iterable[Cell]) -> list[str]:
    """Implementations, then controls, then limits."""
    order = {"implementation": 0, "control": 1, "limit": 2}
    found = {str(c["implementation"]): order.get(str(c.get("role")), 0) for c in cells}
    return sorted(found, key=lambda name: found[name])


def _table(
    run: RunData, group: Group, name: str, caption: str, entry: Callable[[Cell], Entry],
    unit: str, notes: tuple[str, ...] = (), roles: tuple[str, ...] = (),
) -> Table:  # fmt: skip
    cells = cells_of(run, group)
    if roles:
        cells = [c for c in cells if c.get("role") in roles]
    counts = sorted({int(c["classes"]) for c in cells})
    at = {(c["implementation"], c["classes"]): c for c in cells}
    return pivot(
        f"{name}-{group.key}", caption, _names(cells),
        {n: Column(integer(n), unit, group="classes") for n in counts},
        lambda who, n: entry(at[who, n]) if (who, n) in at else missing("skipped", "not planned"),
        notes,
    )  # fmt: skip


def points(run: RunData, group: Group) -> Table:
    """Every number of the plot: a line a point, with its interval, or why there is none."""
    rows = []
    for c in sorted(cells_of(run, group), key=lambda c: (str(c["implementation"]), c["classes"])):
        line = [words(c["implementation"]), Entry(integer(c["classes"]), c["classes"])]
        if c.get("median_ns") is None:
            line += [missing(str(c["status"]), c.get("reason"))] * 3
        elif group.regime == "streaming":
            keys = ("gbps", "gbps_low", "gbps_high")
            line += [_marked(c, figure(c.get(k), 4), c.get(k), None) for k in keys]
        else:
            keys = ("median_ns", "ci_low_ns", "ci_high_ns")
            line += [
                missing("unknown", None) if c.get(k) is None
                else _marked(c, figure(c[k] / 1e3, 4), c[k] / 1e3, None)
                for k in keys
            ]  # fmt: skip
        rows.append(line)
    unit = "GB/s" if group.regime == "streaming" else "µs"
    columns = [
        *texts("Implementation"), Column("Classes"), Column("Median", unit), Column("Low", unit),
        Column("High", unit),
    ]  # fmt: skip
    return Table(f"device-points-{group.key}", title(group), columns, rows)


def _marked(cell: Cell, text: str, raw: Any, detail: str | None) -> Entry:
    """A figure; struck out where it was rejected, with the reason."""
    if cell["status"] != "ok":
        return Entry(text, raw, "struck", cell.get("reason"), detail=detail)
    note = "noisy: the control differs from itself" if cell.get("noisy") else None
    return Entry(text, raw, "", note, detail=detail)


def _bandwidth(cell: Cell) -> Entry:
    if cell.get("gbps") is None:
        return missing(str(cell["status"]), cell.get("reason"))
    share = cell.get("percent_of_limit")
    detail = None if share is None else f"{percent(share / 100.0)}% of {cell['limit']}"
    return _marked(cell, figure(cell["gbps"], 4), cell["gbps"], detail)


def _latency(cell: Cell) -> Entry:
    if cell.get("median_ns") is None:
        return missing(str(cell["status"]), cell.get("reason"))
    low, high = cell.get("ci_low_ns"), cell.get("ci_high_ns")
    between = "" if low is None or high is None else interval(low / 1e3, high / 1e3)
    return _marked(cell, figure(cell["median_ns"] / 1e3), cell["median_ns"], between)


def _ratio(cell: Cell) -> Entry:
    if cell.get("speedup") is None:
        return missing(str(cell["status"]), cell.get("reason") or "no baseline was measured")
    detail = interval(cell.get("speedup_low"), cell.get("speedup_high"))
    return _marked(cell, figure(cell["speedup"]), cell["speedup"], detail)


def speeds(run: RunData, group: Group) -> Table:
    """Implementation × class count: GB/s and share of the limit, or microseconds of one row."""
    cells = cells_of(run, group)
    notes = tuple(dict.fromkeys(str(c["fits"]) for c in cells if c.get("fits")))
    smaller = [c for c in cells if c.get("wanted_bytes")]
    if smaller:
        size, wanted = smaller[0].get("array_bytes"), smaller[0].get("wanted_bytes")
        notes += (f"memory lacked: arrays of {byte_count(size)} in place of {byte_count(wanted)}",)
    host = sorted({str(c["implementation"]) for c in cells if c.get("clock") == "host"})
    if host:
        notes += (f"timed by the host's clock, which waits for the device: {', '.join(host)}",)
    if group.regime == "streaming":
        return _table(run, group, "device-bandwidth", "Bandwidth, and share of the best limit of "
                      "the same rounds", _bandwidth, "GB/s", notes)  # fmt: skip
    return _table(run, group, "device-latency", "Time of a call, median and 95% interval",
                  _latency, "µs", notes)  # fmt: skip


def ratios(run: RunData, group: Group) -> Table:
    """Implementation × class count: how many times as fast as the baseline, round by round."""
    cells = cells_of(run, group, role="implementation")
    baseline = next((str(c["baseline"]) for c in cells if c.get("baseline")), "the baseline")
    return _table(run, group, "device-ratios", f"Time of {baseline} over the time of each, "
                  "paired by round; a control is set against its original", _ratio, "times",
                  roles=("implementation", "control"))  # fmt: skip


def _clock(cell: Cell, when: str) -> Entry:
    found = cell.get(f"clock_{when}") or {}
    if found.get("source") is None:
        return missing("unknown", found.get("reason"))
    parts = [
        f"{figure(found[key], 4)} {unit}"
        for key, unit in (("sm_mhz", "MHz"), ("celsius", "°C"), ("watts", "W"))
        if found.get(key) is not None
    ]
    return words(", ".join(parts), note=f"source: {found['source']}")


def conditions(run: RunData) -> Table | None:
    """A line a group: the device's clock, heat and power before and after, and the doubts."""
    seen: dict[tuple[Any, ...], Cell] = {}
    doubts: dict[tuple[Any, ...], dict[str, None]] = {}
    for c in run.select(_EXPERIMENT):
        if c.get("clock_before"):
            key = (_operation(c), c["regime"], c["dtype"], c["classes"])
            seen.setdefault(key, c)
            doubts.setdefault(key, {}).update(dict.fromkeys(c.get("warnings") or ()))
    if not seen:
        return None
    rows = [
        [words(key[0]), words(c["regime"]), words(c["dtype"]),
         Entry(integer(c["classes"]), c["classes"]),
         words(c.get("device_name")), _clock(c, "before"), _clock(c, "after"),
         words("; ".join(doubts[key]))]
        for key, c in seen.items()
    ]  # fmt: skip
    columns = [
        *texts("Operation", "Regime", "Format"), Column("Classes"),
        *texts("Device", "Before", "After", "Doubts"),
    ]  # fmt: skip
    return Table("device-conditions", "Clocks, heat and power around each group", columns, rows)


def _transfer(cell: Cell, key: str) -> Entry:
    took = cell.get(key)
    if not took:
        return missing("unknown", "the clock saw no time pass")
    return Entry(duration(took), took, detail=f"{figure(cell['transfer_bytes'] / took)} GB/s")


def transfers(run: RunData) -> Table | None:
    """Copies between host and device, as each array library makes them; the largest of each."""
    largest: dict[str, Cell] = {}
    for c in run.select(_EXPERIMENT, role="implementation"):
        if c.get("host_to_device_ns"):
            name = str(c["implementation"])
            before = largest.get(name)
            if before is None or c["transfer_bytes"] > before["transfer_bytes"]:
                largest[name] = c
    if not largest:
        return None
    rows = [
        [words(name), Entry(byte_count(c["transfer_bytes"]), c["transfer_bytes"]),
         *(_transfer(c, k) for k in ("host_to_device_ns", "device_to_host_ns"))]
        for name, c in largest.items()
    ]  # fmt: skip
    columns = [
        *texts("Implementation"), Column("Bytes"), Column("To the device"), Column("To the host"),
    ]  # fmt: skip
    caption = "Copies between host and device, pageable memory; in no other time of this page"
    return Table("device-transfers", caption, columns, rows)


def not_run(run: RunData) -> Table | None:
    """Why there are no timings, by implementation; None where some were tried."""
    cells = run.select(_EXPERIMENT)
    if not cells or groups(run):
        return None
    rows = [[words(c["implementation"]), missing(str(c["status"]), c.get("reason"))] for c in cells]
    columns = texts("Implementation", "Status")
    return Table("device-not-run", f"{NOT_RUN}: there are no figures", columns, rows)
