"""Tables about how timings came to be: cold caches, memory, first calls, threads, doubts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.report.drawing.formatting import byte_count, duration, figure, integer, percent, plural
from harness.report.drawing.tables import Column, Entry, Table, missing, pivot, texts, words
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import Cell, RunData, of
from harness.report.timing_selection import (
    Group,
    anchors,
    at_point,
    group_of,
    preferred,
    timed,
)

_RESOLUTION = 1 << 19  # of the kernel's count of resident pages


def cold_caches(run: RunData, group: Group) -> Table | None:
    """Time of a call that finds its arrays in no cache, and over that of the same call warm."""
    cold, warm = timed(run, group, cold=True), timed(run, group)
    places = sorted({(str(c.get("regime")), c["classes"]) for c in cold if c.get("classes")})
    if not places:
        return None

    def entry(name: str, place: tuple[str, int]) -> Entry:
        here = at_point(of(cold, name), *place)
        one = preferred(here)
        if one is None:
            return missing(*run.why(name, here, dtype=group.dtype))
        same = at_point(of(warm, name), *place)
        other = preferred([c for c in same if c.get("allocating") == one.get("allocating")])
        detail = f"{figure(one['median_ns'] / other['median_ns'])} × warm" if other else None
        return timing_entry(duration(one["median_ns"]), one["median_ns"], one, detail)

    columns = {(r, n): Column(f"n = {integer(n)}", group=r) for r, n in places}
    return pivot(
        "cold", f"Time of a call with cold caches, {group.title}", run.implementations, columns,
        entry,
        ("Before each call all caches of all cores are swept by writing through a larger buffer. "
         "Second line: over the time of the same call with warm caches. The CSV gives "
         "nanoseconds.",),
    )  # fmt: skip


def peak_memory(run: RunData, group: Group) -> Table | None:
    """Highest resident memory of one call beyond input and output, by class count."""
    cells = [c for c in timed(run, group) if c.get("peak_extra_bytes") is not None]
    counts = sorted({(c["classes"], bool(c.get("allocating"))) for c in cells})
    if not counts:
        return None

    def entry(name: str, place: tuple[int, bool]) -> Entry:
        here = [c for c in of(cells, name) if (c["classes"], bool(c.get("allocating"))) == place]
        if not here:
            return missing("not measured", "no call of this kind was timed here")
        extra, array = int(here[0]["peak_extra_bytes"]), here[0].get("array_bytes") or 0
        if extra < _RESOLUTION:
            return Entry("under 0.5 MiB", extra)
        share = f"{figure(extra / array)} arrays" if array else None
        return Entry(byte_count(extra), extra, detail=share)

    columns = {
        (n, new): Column(f"n = {integer(n)}", group="new result" if new else "result in place")
        for n, new in counts
    }
    return pivot(
        "memory", f"Peak memory of a call beyond its input and output, {group.title}",
        run.implementations, columns, entry,
        ("Resident bytes at the highest, less those before the call; of a call that allocates its "
         "result, that result is taken off. Good to about half a MiB. Second line: as a multiple "
         "of one array.",),
    )  # fmt: skip


def preparation(run: RunData, group: Group) -> Table | None:
    """First call, warm-up, threads and faults of every timing of a group."""
    cells = [c for c in timed(run, group) + timed(run, group, cold=True)
             if c.get("warm_up_calls") is not None]  # fmt: skip
    if not cells:
        return None
    rows = []
    for c in cells:
        settled = c.get("warm_up_settled")
        pools = c.get("threads_found") or {}
        found = ", ".join(f"{k} {v}" for k, v in sorted(pools.items()))
        rows.append([
            words(c["implementation"]), words(c.get("regime")),
            Entry(integer(c.get("classes") or 0), c.get("classes")),
            words(c.get("cache") or "warm"),
            words("yes" if c.get("allocating") else "no"),
            Entry(duration(c.get("first_call_ns")), c.get("first_call_ns")),
            Entry(duration(c.get("warm_up_ns")), c.get("warm_up_ns"),
                  detail=plural(c["warm_up_calls"], "call")),
            Entry("settled" if settled else "still faster", kind="" if settled else "bad"),
            Entry(figure(c.get("processors_used")), c.get("processors_used")),
            words(found or "none"),
            Entry(figure(c.get("page_faults")), c.get("page_faults")),
            words(_where(c)),
            words("; ".join(c.get("warnings") or [])),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Regime"), Column("Classes"), *texts("Cache", "Allocates"),
        Column("First call"), Column("Warm-up"), *texts("Warm-up ended"), Column("Processors used"),
        *texts("Pools of threads"), Column("Page faults", "a call"), *texts("Placement", "Doubts"),
    ]  # fmt: skip
    return Table(
        "preparation", f"First calls, warm-ups, threads and memory, {group.title}", columns, rows,
        ("The first call includes compilation, which is in no other figure. Processors used: "
         "processor time over elapsed time of the median sample. Pools: sizes read back from the "
         "libraries after the warm-up. Placement: alignment of input and output, NUMA nodes, "
         "share in huge pages.",),
    )  # fmt: skip


def _where(cell: Cell) -> str:
    parts = []
    for name in ("input", "output"):
        place = cell.get(f"{name}_placement")
        if place:
            text = f"{name} {integer(place['alignment'])}-aligned"
            if place.get("nodes"):
                text += ", node " + "+".join(place["nodes"])
            if place.get("huge"):
                text += f", {percent(place['huge'])}% huge"
            parts.append(text)
    return "; ".join(parts)


def conditions(run: RunData) -> Table | None:
    """What else happened on the machine during each group of timings."""
    rows: list[list[Entry]] = []

    def entry(value: Any, text: str) -> Entry:
        return missing("unknown", "the system does not tell") if value is None else Entry(
            text, value
        )  # fmt: skip

    for c in anchors(run):
        w = c["conditions"]
        cold = ", cold" if c.get("cache") == "cold" else ""
        drift, p = w.get("drift"), w.get("drift_p")
        rows.append([
            words(f"{c.get('regime')}{cold}"), words(group_of(c).title),
            Entry(integer(c.get("classes") or 0), c.get("classes")),
            Entry(figure(w.get("seconds")), w.get("seconds")),
            entry(w.get("others"), figure(w.get("others"))),
            entry(w.get("stolen"), percent(w.get("stolen"))),
            entry(w.get("mhz_last"), figure(w.get("mhz_last"), 4)),
            entry(w.get("throttled"), figure(w.get("throttled"))),
            missing("too few rounds", "a trend needs five rounds or more") if drift is None else
            Entry(percent(drift), drift, detail=f"p = {figure(p)}"),
            words("no control" if c.get("noisy") is None else "noisy" if c["noisy"] else "quiet"),
            words("; ".join(c.get("warnings") or [])),
        ])  # fmt: skip
    if not rows:
        return None
    columns = [
        *texts("Regime", "Timings"), Column("Classes"), Column("Took", "s"),
        Column("Other programs", "processors"), Column("Stolen", "%"),
        Column("Clock at the end", "MHz"), Column("Throttled", "times"),
        Column("Drift of the same code", "%"), *texts("Control", "Cause and next action"),
    ]  # fmt: skip
    return Table(
        "conditions", "The machine during each group of timings", columns, rows,
        ("Stolen: processor time that the hypervisor gave to others. Drift: the copies and "
         "controls, from the first round to the last, by the slope of Theil and Sen; p by "
         "Kendall's rank correlation.",),
    )  # fmt: skip


def doubts(run: RunData) -> Table | None:
    """What is doubtful about single timings, gathered by implementation and cause."""
    counts: Counter[tuple[str, str]] = Counter()
    for c in timed(run) + timed(run, cold=True):
        for text in c.get("warnings") or []:
            counts[c["implementation"], text] += 1
    if not counts:
        return None
    rows = [[words(name), Entry(integer(n), n), words(text)] for (name, text), n in counts.items()]
    columns = [*texts("Implementation"), Column("Timings"), *texts("Cause and next action")]
    return Table("doubts", "Doubts about single timings", columns, rows)
