"""The page of timings on a device: bandwidth against the copy, one row apart, clocks, transfers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from harness.records import DeviceThroughputRecord
from harness.records.device_throughput import DeviceClock
from harness.report.drawing.formatting import (
    byte_count,
    duration,
    figure,
    integer,
    interval,
    percent,
)
from harness.report.drawing.sanitize import slug
from harness.report.drawing.tables import (
    Column,
    Entry,
    Table,
    count,
    missing,
    number,
    pivot,
    texts,
    words,
)
from harness.report.pages.timing_curves import points_of
from harness.report.run_data import RunData, class_counts

NOT_RUN = "Not run on a GPU"
TITLES = {
    "streaming": "Bandwidth beyond L2",
    "launches": "One row, launch by launch",
    "graph": "One row, through a CUDA graph",
}
_ROLES = ("implementation", "control", "limit")


@dataclass(frozen=True)
class DeviceGroup:
    """What timings on a device must have in common to share a plot."""

    operation: str
    regime: str
    dtype: str

    @property
    def latency(self) -> bool:
        """Whether its figures are times of a call, not bandwidths."""
        return self.regime != "streaming"

    @property
    def key(self) -> str:
        """In names of files; softmax, which once was all, goes without."""
        own = () if self.operation == "softmax" else (self.operation,)
        return slug("-".join((*own, self.regime, self.dtype)))


def _operation(record: DeviceThroughputRecord) -> str:
    """That in whose rounds a timing was taken; limits have one of their own."""
    return (record.beside or "softmax") if record.role == "limit" else record.operation


def groups(run: RunData) -> list[DeviceGroup]:
    """What was measured or tried, in the order of the page."""
    found = {
        DeviceGroup(_operation(c), c.regime, str(c.dtype))
        for c in run.select(DeviceThroughputRecord)
        if c.regime
    }
    order = list(TITLES)

    def rank(g: DeviceGroup) -> tuple[object, ...]:
        where = order.index(g.regime)
        return g.operation != "softmax", g.operation, where, g.dtype != "float32", g.dtype

    return sorted(found, key=rank)


def records_of(run: RunData, group: DeviceGroup) -> list[DeviceThroughputRecord]:
    """The records of a group, limits and controls among them."""
    found = run.select(DeviceThroughputRecord, dtype=group.dtype)
    return [c for c in found if c.regime == group.regime and _operation(c) == group.operation]


def title(group: DeviceGroup) -> str:
    tail = "" if group.operation == "softmax" else f", {group.operation}"
    return f"{TITLES[group.regime]}{tail}, {group.dtype}"


def _table(
    group: DeviceGroup, records: Iterable[DeviceThroughputRecord], name: str, caption: str,
    entry: Callable[[DeviceThroughputRecord], Entry], unit: str, notes: tuple[str, ...] = (),
) -> Table:  # fmt: skip
    """Implementations, then controls, then limits × class count."""
    found = sorted(records, key=lambda c: _ROLES.index(c.role))
    at = {(c.implementation, c.classes): c for c in found}
    return pivot(
        f"{name}-{group.key}", caption, dict.fromkeys(c.implementation for c in found),
        {n: Column(integer(n), unit, group="classes") for n in class_counts(found)},
        lambda who, n: entry(at[who, n]) if (who, n) in at else missing("skipped", "not planned"),
        notes,
    )  # fmt: skip


def points(run: RunData, group: DeviceGroup) -> Table:
    """Every number of the plot: a line a point, with its interval, or why there is none."""
    rows = []
    for c in sorted(records_of(run, group), key=lambda c: (c.implementation, c.classes or 0)):
        entries = [missing(c.status, c.reason)] * 3
        for _, *values, _ in points_of([c], latency=group.latency):
            entries = [missing("unknown", None) if v is None else _marked(c, v, 4) for v in values]
        rows.append([words(c.implementation), count(c.classes), *entries])
    unit = "µs" if group.latency else "GB/s"
    columns = [
        *texts("Implementation"), Column("Classes"), Column("Median", unit), Column("Low", unit),
        Column("High", unit),
    ]  # fmt: skip
    return Table(f"device-points-{group.key}", title(group), columns, rows)


def _marked(
    record: DeviceThroughputRecord, value: float, digits: int = 3, detail: str = ""
) -> Entry:
    """A figure; struck out where it was rejected, with the reason."""
    if record.status != "ok":
        return number(value, digits, kind="struck", note=record.reason, detail=detail)
    note = (record.undecided or "noisy: the control differs from itself") if record.noisy else None
    return number(value, digits, note=note, detail=detail)


def _bandwidth(c: DeviceThroughputRecord) -> Entry:
    if c.gbps is None:
        return missing(c.status, c.reason)
    share = c.percent_of_limit
    detail = "" if share is None else f"{percent(share / 100.0)}% of {c.limit}"
    return _marked(c, c.gbps, 4, detail)


def _latency(c: DeviceThroughputRecord) -> Entry:
    """In microseconds; in nanoseconds in the CSV."""
    for _, value, low, high, _ in points_of([c], latency=True):
        return replace(_marked(c, value, 3, interval(low, high)), raw=c.time_ns)
    return missing(c.status, c.reason)


def _ratio(c: DeviceThroughputRecord) -> Entry:
    if c.speedup is None:
        return missing(c.status, c.reason or "no baseline was measured")
    return _marked(c, c.speedup, 3, interval(c.speedup_low, c.speedup_high))


def speeds(run: RunData, group: DeviceGroup) -> Table:
    """Implementation × class count: GB/s and share of the limit, or microseconds of one row."""
    records = records_of(run, group)
    notes = tuple(dict.fromkeys(c.fits for c in records if c.fits))
    smaller = next((c for c in records if c.wanted_bytes), None)
    if smaller is not None:
        size, wanted = byte_count(smaller.array_bytes), byte_count(smaller.wanted_bytes)
        notes += (f"memory lacked: arrays of {size} in place of {wanted}",)
    host = sorted({c.implementation for c in records if c.clock == "host"})
    if host:
        notes += (f"timed by the host's clock, which waits for the device: {', '.join(host)}",)
    if group.latency:
        return _table(group, records, "device-latency", "Time of a call and 95% interval",
                      _latency, "µs", notes)  # fmt: skip
    return _table(group, records, "device-bandwidth", "Bandwidth, and share of the best limit of "
                  "the same group", _bandwidth, "GB/s", notes)  # fmt: skip


def ratios(run: RunData, group: DeviceGroup) -> Table:
    """Implementation × class count: how many times as fast as the baseline."""
    records = [c for c in records_of(run, group) if c.role != "limit"]
    named = (c.baseline for c in records if c.role == "implementation" and c.baseline)
    baseline = next(named, "the baseline")
    return _table(group, records, "device-ratios", f"Time of {baseline} over the time of each, "
                  "of the same rounds; a control is set against its original", _ratio,
                  "times")  # fmt: skip


def _clock(clock: DeviceClock | None) -> Entry:
    if clock is None or clock.source is None:
        return missing("unknown", clock.reason if clock else None)
    told = ((clock.sm_mhz, "MHz"), (clock.celsius, "°C"), (clock.watts, "W"))
    parts = [f"{figure(value, 4)} {unit}" for value, unit in told if value is not None]
    return words(", ".join(parts), note=f"source: {clock.source}")


def conditions(run: RunData) -> Table | None:
    """A line a group: the device's clock, heat and power before and after, and the doubts."""
    found: dict[tuple[object, ...], list[DeviceThroughputRecord]] = {}
    for c in run.select(DeviceThroughputRecord):
        if c.clock_before:
            found.setdefault((_operation(c), c.regime, c.dtype, c.classes), []).append(c)
    rows = [
        [words(_operation(c)), words(c.regime), words(c.dtype), count(c.classes),
         words(c.device_name), _clock(c.clock_before), _clock(c.clock_after),
         words("; ".join(dict.fromkeys(w for other in here for w in other.warnings or ())))]
        for here in found.values() for c in here[:1]
    ]  # fmt: skip
    columns = [
        *texts("Operation", "Regime", "Format"), Column("Classes"),
        *texts("Device", "Before", "After", "Doubts"),
    ]  # fmt: skip
    caption = "Clocks, heat and power around each group"
    return Table("device-conditions", caption, columns, rows).or_none()


def _transfer(record: DeviceThroughputRecord, took: float | None) -> Entry:
    if not took:
        return missing("unknown", "the clock saw no time pass")
    return Entry(duration(took), took, detail=f"{figure((record.transfer_bytes or 0) / took)} GB/s")


def transfers(run: RunData) -> Table | None:
    """Copies between host and device, as each array library makes them; the largest of each."""
    largest: dict[str, DeviceThroughputRecord] = {}
    for c in run.select(DeviceThroughputRecord):
        if c.role == "implementation" and c.host_to_device_ns:
            before = largest.setdefault(c.implementation, c)
            if (c.transfer_bytes or 0) > (before.transfer_bytes or 0):
                largest[c.implementation] = c
    rows = [
        [words(name), Entry(byte_count(c.transfer_bytes), c.transfer_bytes),
         _transfer(c, c.host_to_device_ns), _transfer(c, c.device_to_host_ns)]
        for name, c in largest.items()
    ]  # fmt: skip
    columns = [
        *texts("Implementation"), Column("Bytes"), Column("To the device"), Column("To the host"),
    ]  # fmt: skip
    caption = "Copies between host and device, pageable memory; in no other time of this page"
    return Table("device-transfers", caption, columns, rows).or_none()


def not_run(run: RunData) -> Table | None:
    """Why there are no timings, by implementation; None where some were tried."""
    records = [] if groups(run) else run.select(DeviceThroughputRecord)
    rows = [[words(c.implementation), missing(c.status, c.reason)] for c in records]
    columns = texts("Implementation", "Status")
    caption = f"{NOT_RUN}: there are no figures"
    return Table("device-not-run", caption, columns, rows).or_none()
