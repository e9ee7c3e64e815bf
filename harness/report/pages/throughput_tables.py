"""Tables of the throughput experiment: all timings, ratios, allocation, control, gaps."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from harness.records import ThroughputRecord
from harness.records.timing import TimingRecord
from harness.report.chosen import fastest_first
from harness.report.drawing.formatting import (
    byte_count,
    duration,
    figure,
    integer,
    interval,
    plural,
)
from harness.report.drawing.prose import prose
from harness.report.drawing.tables import (
    Column,
    Entry,
    Kind,
    Table,
    count,
    missing,
    number,
    pivot,
    texts,
    words,
)
from harness.report.run_data import REGIMES, RunData, class_counts, known, of
from harness.report.run_header import repeat
from harness.report.timing_selection import (
    Group,
    at_point,
    controls,
    group_of,
    has_time,
    limits,
    misses_one,
    preferred,
    struck,
    timed,
    why_untimed,
)


def _doubt(record: TimingRecord) -> str:
    """Why a figure is marked: the same words for all of a table; its own stand in the CSV."""
    return prose("undecided" if record.undecided else "noisy")


def timing_entry(
    value: float | None,
    record: TimingRecord,
    detail: str = "",
    shown: Callable[[float | None], str] = figure,
) -> Entry:
    """A figure of a timing: struck out or marked noisy as its record says, with the reason."""
    text = shown(value)
    if struck(record):
        over, ulp = record.gate_error_over_bound, record.gate_ulp
        why = "struck out: failed the accuracy gate on this workload"
        if ulp is not None:
            why += f" ({figure(ulp)} ulp"
            why += f", {figure(over)} times its bound)" if over is not None else ")"
        return Entry(text, value, "struck", why, detail=detail)
    if record.noisy:
        doubt = _doubt(record)
        return Entry(
            f"~{text}", value, detail=detail, note=doubt, told=record.undecided, common=True
        )
    return Entry(text, value, detail=detail)


def points_table(run: RunData, group: Group, name: str) -> Table:
    """Every timing of a group, the limits and controls included; gaps are in `untimed`."""
    records = [c for c in [*timed(run, group), *controls(run, group)] if c.time_ns is not None]
    records += [c for r in REGIMES for cs in limits(run, group, r).values() for c in cs]
    rows = []
    for c in records:
        state = [] if c.status == "ok" else [str(c.status)]
        state += ["struck out"] if struck(c) else []
        state += ["implausible"] if c.implausible else []
        state += ["undecided" if c.undecided else "noisy"] if c.noisy else []
        reasons = [r for r in (c.reason, c.undecided) if r]
        kind: Kind = "struck" if struck(c) or c.implausible else ""
        where = ", ".join(filter(None, (byte_count(c.array_bytes), c.fits)))
        rows.append([
            words(c.implementation), words(c.regime), count(c.classes), count(c.rows),
            Entry(where, c.array_bytes), words("new" if c.allocating else ""),
            Entry(duration(c.best_ns), c.best_ns, kind, detail=_reach(c.best_low_ns, c.best_ns)),
            Entry(duration(c.median_ns), c.median_ns, kind),
            number(c.gbps, kind=kind, detail=interval(c.gbps_low, c.gbps_high)),
            number(c.percent_of_limit, kind=kind),
            number(c.speedup, kind=kind, detail=interval(c.speedup_low, c.speedup_high)),
            number(c.gate_ulp), Entry("; ".join(state), "; ".join([*state, *reasons])),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Regime"), Column("Classes"), Column("Rows"),
        *texts("Array", "Result"), Column("Least"), Column("Median"),
        Column("Bandwidth", "GB/s"), Column("Of limit", "%"), Column("Baseline ÷ time"),
        Column("Gate", "ulp"), *texts("Doubts"),
    ]  # fmt: skip
    caption = f"Timings, {group.title}: least times with 95% intervals, and medians"
    return Table(name, caption, columns, rows,
                 ("The CSV gives times in nanoseconds and sizes in bytes.",))  # fmt: skip


def _reach(low: float | None, high: float | None) -> str:
    return "" if low is None else f"[{duration(low)}, {duration(high)}]"


def ratios(run: RunData, group: Group, regime: str) -> Table:
    """Implementation × class count: time of the baseline over the time, with its interval."""
    records = [c for c in timed(run, group) if c.regime == regime]
    baseline = next((c.baseline for c in records if c.baseline), "the baseline")

    def entry(name: str, n: int) -> Entry:
        here = at_point(of(records, name), regime, n)
        c = preferred(here)
        if c is None or c.speedup is None:
            return missing(*why_untimed(run, name, here, group.dtype))
        return timing_entry(c.speedup, c, interval(c.speedup_low, c.speedup_high))

    again = f"{group.repeat} --regime {regime} -i {shlex.quote(baseline)}"
    columns = {
        n: Column(f"n = {integer(n)}", "×", repeat=f"--classes {n} {again}")
        for n in class_counts(records)
    }
    caption = f"Speed relative to {baseline}, {regime}, {group.title}"
    notes = [prose("ratios")]
    order = fastest_first(run)
    table = pivot(f"ratio-{regime}", caption, order, columns, entry, notes, best=True)
    return replace(table, repeat=repeat(run.info), about={"regime": regime})


def allocation(run: RunData, group: Group) -> Table | None:
    """What allocating the result costs: time of the allocating call over the preallocated."""
    first: dict[tuple[str, str, int], dict[bool, ThroughputRecord]] = {}
    for c in timed(run, group):
        if has_time(c) and c.regime and c.classes and c.allocating is not None:
            at = first.setdefault((c.implementation, c.regime, c.classes), {})
            at.setdefault(c.allocating, c)
    both = {place: (at[True], at[False]) for place, at in first.items() if len(at) == 2}
    if not both:
        return None

    def entry(name: str, place: tuple[str, int]) -> Entry:
        if (name, *place) in both:
            new, old = both[name, *place]
            slow, fast = known(new.time_ns), known(old.time_ns)
            return timing_entry(slow / fast, new, f"{duration(slow)} / {duration(fast)}")
        about = run.about(name)
        if about and about.available and group.operation not in about.operations_with_out:
            return missing("no out=", "the implementation always allocates its result")
        return missing(*run.why(name, [], group.dtype))

    places = sorted({(r, n) for _, r, n in both}, key=lambda p: (REGIMES.index(p[0]), p[1]))
    columns = {(r, n): Column(f"n = {integer(n)}", "×", group=r) for r, n in places}
    return pivot(
        "allocation", f"Time with a new result ÷ time with a preallocated one, {group.title}",
        run.implementations, columns, entry,
        ("Of two least times, without an interval.",),
    )  # fmt: skip


def control_table(run: RunData, group: Group) -> Table | None:
    """The same against itself: what difference the machine makes of nothing."""
    rows = []
    for c in controls(run, group):
        noisy = bool(misses_one(c))
        rows.append([
            words(c.implementation), words(c.regime), count(c.classes),
            missing(c.status, c.reason) if c.speedup is None
            else number(c.speedup, 4, detail=interval(c.speedup_low, c.speedup_high, 4)),
            Entry("not 1", kind="bad", note=_doubt(c), told=c.undecided, common=True) if noisy
            else words("1"),
        ])  # fmt: skip
    columns = [
        *texts("Control", "Regime"), Column("Classes"), Column("Ratio to itself"),
        *texts("Verdict"),
    ]  # fmt: skip
    noisy_count = sum(row[-1].kind == "bad" for row in rows)
    caption = (
        f"Control, {group.title}: {noisy_count} of {plural(len(rows), 'ratio')} not known to be 1"
    )
    return Table("control", caption, columns, rows).or_none()


def untimed(run: RunData) -> Table | None:
    """Timings that were wanted and are not there, gathered by reason."""
    counts = Counter(
        (c.implementation, group_of(c).title, c.status.replace("_", " "),
         c.reason or "no reason recorded")
        for c in timed(run) if c.time_ns is None
    )  # fmt: skip
    rows = [
        [words(name), words(group), words(status), count(n), words(reason)]
        for (name, group, status, reason), n in counts.items()
    ]
    columns = [*texts("Implementation", "Timings", "Status"), Column("Cells"), *texts("Reason")]
    caption = "Timings that are missing, with the reason"
    return Table("untimed", caption, columns, rows).or_none()
