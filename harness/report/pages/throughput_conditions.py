"""Tables about how timings came to be: cold caches, memory, first calls, threads, doubts."""

from __future__ import annotations

from collections import Counter
from itertools import product

from harness.records import ThroughputRecord
from harness.report.drawing.formatting import byte_count, duration, figure, integer, percent, plural
from harness.report.drawing.prose import prose
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
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import REGIMES, RunData, known, of
from harness.report.timing_selection import (
    Group,
    at_point,
    curve,
    group_of,
    preferred,
    timed,
    why_untimed,
)

_RESOLUTION = 1 << 19  # of the kernel's count of resident pages


def cold_caches(run: RunData, group: Group) -> Table | None:
    """Time of a call that finds its arrays in no cache, and over that of the same call warm."""
    cold, warm = timed(run, group, cold=True), timed(run, group)
    places = sorted({(str(c.regime), c.classes) for c in cold if c.classes})
    if not places:
        return None

    def entry(name: str, place: tuple[str, int]) -> Entry:
        here = at_point(of(cold, name), *place)
        one = preferred(here)
        if one is None:
            return missing(*why_untimed(run, name, here, group.dtype))
        same = at_point(of(warm, name), *place)
        other = preferred(c for c in same if c.allocating == one.allocating)
        ns, detail = known(one.time_ns), ""
        if other is not None:
            detail = f"{figure(ns / known(other.time_ns))} × warm"
        return timing_entry(ns, one, detail, duration)

    columns = {(r, n): Column(f"n = {integer(n)}", group=r) for r, n in places}
    return pivot(
        "cold", f"Time of a call with cold caches, {group.title}", run.implementations, columns,
        entry,
        [prose("cold")],
    )  # fmt: skip


def peak_memory(run: RunData, group: Group) -> Table | None:
    """Highest resident memory of one call beyond input and output, by class count."""
    found: dict[tuple[str, int, bool], ThroughputRecord] = {}
    for c in timed(run, group):
        if c.peak_extra_bytes is not None and c.classes is not None:
            found.setdefault((c.implementation, c.classes, bool(c.allocating)), c)
    if not found:
        return None

    def entry(name: str, place: tuple[int, bool]) -> Entry:
        if (name, *place) not in found:
            return missing("not measured", "no call of this kind was timed here")
        c = found[name, *place]
        extra = known(c.peak_extra_bytes)
        if extra < _RESOLUTION:
            return Entry("under 0.5 MiB", extra)
        share = f"{figure(extra / c.array_bytes)} arrays" if c.array_bytes else ""
        return Entry(byte_count(extra), extra, detail=share)

    columns = {
        (n, new): Column(f"n = {integer(n)}", group="new result" if new else "result in place")
        for n, new in sorted({(n, new) for _, n, new in found})
    }
    return pivot(
        "memory", f"Peak memory of a call beyond its input and output, {group.title}",
        run.implementations, columns, entry,
        [prose("memory")],
    )  # fmt: skip


def counters(run: RunData, group: Group) -> Table | None:
    """What the processor counted of each timing: instructions do not depend on its neighbours."""
    rows = []
    for c in timed(run, group):
        if c.instructions is None or not c.rows or not c.classes:
            continue
        elements = c.rows * c.classes
        rows.append([
            words(c.implementation), words(c.regime), count(c.classes),
            words("yes" if c.allocating else "no"), number(c.instructions / elements),
            *(number(None if n is None else n / elements) for n in (c.cycles, c.cache_misses)),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Regime"), Column("Classes"), *texts("Allocates"),
        Column("Instructions", "an element"), Column("Cycles", "an element"),
        Column("Cache misses", "an element"),
    ]  # fmt: skip
    caption = f"The processor's counters, {group.title}"
    return Table("counters", caption, columns, rows, [prose("counters")]).or_none()


def preparation(run: RunData, group: Group) -> Table | None:
    """First call, warm-up, threads and faults of the timings of a group that count."""
    rows = []
    points = product(run.implementations, REGIMES, (False, True))
    for c in (
        c
        for name, regime, cold in points
        for c in curve(of(timed(run, group, cold=cold), name), regime)
        if c.warm_up_calls is not None
    ):
        pools = ", ".join(f"{k} {v}" for k, v in sorted((c.threads_found or {}).items()))
        rows.append([
            words(c.implementation), words(c.regime), count(c.classes), words(c.cache or "warm"),
            Entry(duration(c.first_call_ns), c.first_call_ns),
            Entry(duration(c.warm_up_ns), c.warm_up_ns, detail=_calls(c)),
            words("settled") if c.warm_up_settled else words("still faster", kind="bad"),
            number(c.processors_used), words(pools or "none"), number(c.page_faults),
            words(_where(c)), words("; ".join(c.warnings or ())),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Regime"), Column("Classes"), *texts("Cache"),
        Column("First call"), Column("Warm-up"), *texts("Warm-up ended"),
        Column("Processors used"), *texts("Pools of threads"), Column("Page faults", "a call"),
        *texts("Placement", "Doubts"),
    ]  # fmt: skip
    caption = f"First calls, warm-ups, threads and memory, {group.title}"
    return Table("preparation", caption, columns, rows, [prose("preparation")]).or_none()


def _calls(record: ThroughputRecord) -> str:
    return plural(known(record.warm_up_calls), "call")


def _where(record: ThroughputRecord) -> str:
    parts = []
    for name, place in (("in", record.input_placement), ("out", record.output_placement)):
        if place:
            text = f"{name} {integer(place.alignment)} B"
            if place.nodes:
                text += ", node " + "+".join(place.nodes)
            if place.huge:
                text += f", {percent(place.huge)}% huge"
            parts.append(text)
    return "; ".join(parts)


def conditions(run: RunData) -> Table | None:
    """What else happened on the machine during each group of timings."""
    unknown = missing("unknown", "the system does not tell")
    control = {None: "no control", True: "noisy", False: "quiet"}
    rows = []
    for c in run.select(ThroughputRecord):
        w = c.conditions
        if w is None:
            continue
        cold = ", cold" if c.cache == "cold" else ""
        rows.append([
            words(f"{c.regime}{cold}"), words(group_of(c).title), count(c.classes),
            number(w.seconds),
            unknown if w.others is None else number(w.others),
            unknown if w.stolen is None else Entry(percent(w.stolen), w.stolen),
            unknown if w.mhz_last is None else number(w.mhz_last, 4),
            unknown if w.throttled is None else number(w.throttled),
            words(control[c.noisy]), words("; ".join(c.warnings or ())),
        ])  # fmt: skip
    columns = [
        *texts("Regime", "Timings"), Column("Classes"), Column("Took", "s"),
        Column("Other programs", "processors"), Column("Stolen", "%"),
        Column("Clock at the end", "MHz"), Column("Throttled", "times"),
        *texts("Control", "Cause and next action"),
    ]  # fmt: skip
    caption = "The machine during each group of timings"
    return Table("conditions", caption, columns, rows, [prose("conditions")]).or_none()


def doubts(run: RunData) -> Table | None:
    """What is doubtful about single timings, gathered by implementation and cause."""
    counts = Counter(
        (c.implementation, text)
        for c in timed(run) + timed(run, cold=True)
        for text in c.warnings or ()
    )
    rows = [[words(name), count(n), words(text)] for (name, text), n in counts.items()]
    columns = [*texts("Implementation"), Column("Timings"), *texts("Cause and next action")]
    return Table("doubts", "Doubts about single timings", columns, rows).or_none()
