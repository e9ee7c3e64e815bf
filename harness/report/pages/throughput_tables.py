"""Tables of the throughput experiment: all timings, ratios, allocation, control, gaps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from harness.report.drawing.formatting import (
    byte_count,
    duration,
    figure,
    integer,
    interval,
    plural,
)
from harness.report.drawing.tables import Column, Entry, Kind, Table, missing, pivot, texts, words
from harness.report.run_data import REGIMES, Cell, RunData, of
from harness.report.timing_selection import (
    Group,
    at_point,
    between,
    controls,
    group_of,
    has_time,
    limits,
    misses_one,
    preferred,
    rejected,
    struck,
    timed,
)


def timing_entry(value: str, raw: Any, cell: Cell, detail: str | None = None) -> Entry:
    """A figure of a timing: struck out or marked noisy as its record says, with the reason."""
    if struck(cell):
        over, ulp = cell.get("gate_error_over_bound"), cell.get("gate_ulp")
        why = "struck out: failed the accuracy gate on this workload"
        if ulp is not None:
            why += f" ({figure(ulp)} ulp"
            why += f", {figure(over)} times its bound)" if over is not None else ")"
        return Entry(value, raw, "struck", why, None, detail)
    if cell.get("noisy"):
        note = (
            "noisy: a control at this point, the same against itself, does not hold 1.0, or the "
            "copies lost their processors to other programs"
        )
        return Entry(f"~{value}", raw, "", note, None, detail)
    return Entry(value, raw, "", None, None, detail)


def points_table(run: RunData, group: Group, name: str, only: str | None = None) -> Table:
    """Every timing of a group, the limits and controls included."""
    cells = [c for c in timed(run, group) if only in (None, c["implementation"])]
    if only is None:
        cells += controls(run, group)
        cells += [c for r in REGIMES for cs in limits(run, group, r).values() for c in cs]
    rows = []
    for c in cells:
        state = [] if c["status"] == "ok" else [str(c["status"])]
        state += ["struck out"] if struck(c) else []
        state += ["noisy"] if c.get("noisy") else []
        state += ["implausible"] if c.get("implausible") else []
        kind: Kind = "struck" if struck(c) or c.get("implausible") else ""
        low, high = c.get("ci_low_ns"), c.get("ci_high_ns")
        bounds = f"[{duration(low)}, {duration(high)}]" if low is not None else None
        rows.append([
            words(c["implementation"]), words(c.get("role") or "implementation"),
            words(c.get("regime")),
            Entry(integer(c.get("classes") or 0), c.get("classes")),
            Entry(integer(c.get("rows") or 0), c.get("rows")),
            Entry(byte_count(c.get("array_bytes")), c.get("array_bytes") or ""),
            words(c.get("fits")),
            words({True: "yes", False: "no"}.get(c["allocating"]) if c.get("allocating") is not None
                  else ""),
            Entry(duration(c.get("median_ns")), c.get("median_ns") or "", kind, detail=bounds),
            Entry(figure(c.get("gbps")), c.get("gbps") or "", kind,
                  detail=between(c, "gbps")),
            Entry(figure(c.get("percent_of_limit")), c.get("percent_of_limit") or "", kind),
            Entry(figure(c.get("speedup")), c.get("speedup") or "", kind,
                  detail=between(c, "speedup")),
            Entry(figure(c.get("gate_ulp")), c.get("gate_ulp") if c.get("gate_ulp") is not None
                  else ""),
            words(", ".join(state) or "ok"), words(c.get("reason")),
        ])  # fmt: skip
    columns = [
        *texts("Implementation", "Role", "Regime"), Column("Classes"), Column("Rows"),
        Column("Array"), *texts("Cache", "Allocates"), Column("Median"),
        Column("Bandwidth", "GB/s"), Column("Of limit", "%"), Column("Baseline ÷ time"),
        Column("Gate", "ulp"), *texts("State", "Reason"),
    ]  # fmt: skip
    return Table(name, f"Timings, {group.title}: medians with 95% intervals", columns, rows,
                 ("The CSV gives times in nanoseconds and sizes in bytes.",))  # fmt: skip


def ratios(run: RunData, group: Group, regime: str) -> Table:
    """Implementation × class count: time of the baseline over the time, with its interval."""
    cells = [c for c in timed(run, group) if c.get("regime") == regime]
    classes = sorted({c["classes"] for c in cells if c.get("classes")})
    baseline = next((c["baseline"] for c in cells if c.get("baseline")), None)
    best: dict[int, float] = {}
    picked = {
        (name, n): preferred(at_point(of(cells, name), regime, n))
        for name in run.implementations
        for n in classes
    }
    for (_, n), c in picked.items():
        if c is not None and c.get("speedup") is not None and not struck(c):
            best[n] = max(best.get(n, 0.0), c["speedup"])

    def entry(name: str, n: int) -> Entry:
        c = picked[name, n]
        if c is None or c.get("speedup") is None:
            here = at_point(of(cells, name), regime, n)
            return missing(*(rejected(here) or run.why(name, here, dtype=group.dtype)))
        found = timing_entry(figure(c["speedup"]), c["speedup"], c, between(c, "speedup"))
        first = not found.kind and best.get(n) == c["speedup"]
        return replace(found, kind="best") if first else found

    columns = {n: Column(f"n = {integer(n)}", "×") for n in classes}
    caption = f"Speed relative to {baseline or 'the baseline'}, {regime}, {group.title}"
    notes = (
        "Time of the baseline divided by the time of the implementation, paired round by round: "
        "above 1 is faster. Second line: 95% bootstrap interval. Bold: the fastest of the column "
        "among those that passed the accuracy gate.",
    )
    return pivot(f"ratio-{regime}", caption, run.implementations, columns, entry, notes)


def allocation(run: RunData, group: Group) -> Table | None:
    """What allocating the result costs: median of the allocating call over the preallocated."""
    cells = [c for c in timed(run, group) if has_time(c)]
    places = sorted({(REGIMES.index(c["regime"]), c["classes"]) for c in cells
                     if c.get("regime") in REGIMES and c.get("classes")})  # fmt: skip
    values: dict[tuple[str, tuple[int, int]], tuple[Cell, Cell]] = {}
    for name in run.implementations:
        for place in places:
            here = at_point(of(cells, name), REGIMES[place[0]], place[1])
            new = [c for c in here if c.get("allocating") is True]
            old = [c for c in here if c.get("allocating") is False]
            if new and old:
                values[name, place] = new[0], old[0]
    if not values:
        return None

    def entry(name: str, place: tuple[int, int]) -> Entry:
        if (name, place) in values:
            new, old = values[name, place]
            ratio = new["median_ns"] / old["median_ns"]
            detail = f"{duration(new['median_ns'])} / {duration(old['median_ns'])}"
            return timing_entry(figure(ratio), ratio, new, detail)
        about = run.about(name)
        if about and about.available and group.operation not in about.operations_with_out:
            return missing("no out=", "the implementation always allocates its result")
        return missing(*run.why(name, [], dtype=group.dtype))

    used = {place for _, place in values}
    columns = {p: Column(f"n = {integer(p[1])}", "×", group=REGIMES[p[0]])
               for p in places if p in used}  # fmt: skip
    return pivot(
        "allocation", f"Time with a new result ÷ time with a preallocated one, {group.title}",
        run.implementations, columns, entry,
        ("Ratio of two medians, without an interval: the two calls were not paired.",),
    )  # fmt: skip


def control_table(run: RunData, group: Group) -> Table | None:
    """The same against itself: what difference the machine makes of nothing."""
    rows = []
    for c in controls(run, group):
        noisy = bool(misses_one(c))
        ratio = c.get("speedup")
        rows.append([
            words(c["implementation"]), words(c.get("regime")),
            Entry(integer(c.get("classes") or 0), c.get("classes")),
            Entry(figure(ratio, 4), ratio, detail=interval(
                c.get("speedup_low"), c.get("speedup_high"), 4) or None)
            if ratio is not None else missing(c["status"], c.get("reason")),
            Entry("misses 1.0" if noisy else "holds 1.0", kind="bad" if noisy else ""),
        ])  # fmt: skip
    if not rows:
        return None
    columns = [
        *texts("Control", "Regime"), Column("Classes"), Column("Ratio to itself"),
        *texts("Verdict"),
    ]  # fmt: skip
    noisy_count = sum(row[-1].kind == "bad" for row in rows)
    caption = f"Control, {group.title}: {noisy_count} of {plural(len(rows), 'interval')} miss 1.0"
    return Table("control", caption, columns, rows)


def untimed(run: RunData) -> Table | None:
    """Timings that were wanted and are not there, gathered by reason."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for c in timed(run):
        if c.get("median_ns") is None:
            key = (c["implementation"], group_of(c).title, c["status"].replace("_", " "),
                   c.get("reason") or "no reason recorded")  # fmt: skip
            counts[key] += 1
    if not counts:
        return None
    rows = [
        [words(name), words(group), words(status), Entry(integer(n), n), words(reason)]
        for (name, group, status, reason), n in counts.items()
    ]
    columns = [*texts("Implementation", "Timings", "Status"), Column("Cells"), *texts("Reason")]
    return Table("untimed", "Timings that are missing, with the reason", columns, rows)
