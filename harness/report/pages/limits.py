"""How far from the limit: every timing as a share of what the machine can do at best.

The limits are those that were timed in the same rounds: copies of the same bytes with regular and
with non-temporal stores, and, in cache, one exponential an element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from harness.records import ThroughputRecord
from harness.records.timing import TimingRecord, times_as_fast
from harness.report.chosen import chosen, fastest_first
from harness.report.drawing.figure import Plot, grid
from harness.report.drawing.formatting import figure, integer, interval
from harness.report.drawing.prose import prose
from harness.report.drawing.style import Style
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
from harness.report.pages.timing_curves import LABELS, Point, draw
from harness.report.run_data import RunData, absent_text, known, of
from harness.report.timing_selection import (
    Group,
    at_point,
    curve,
    groups,
    limits,
    struck,
    timed,
    why_untimed,
)

_TOP = 150.0  # per cent; beyond it the limit was disturbed, and the curves matter more
BOUNDED = ("cached", "streaming")
NONTEMPORAL, REGULAR, EXPONENTIAL = "copy_nontemporal", "copy_regular", "exp_only"
_TITLES = {
    NONTEMPORAL: "copy, non-temporal",
    REGULAR: "copy, regular stores",
    EXPONENTIAL: "one exp an element",
}
_MEANING = {
    "cached": "% of the limit that is lower: a copy, or one exponential an element",
    "streaming": "% of the best copy",
}


class Share(NamedTuple):
    """A time as a share of a limit's, in per cent; the interval where both have one."""

    percent: float
    low: float | None = None
    high: float | None = None


def share(record: TimingRecord, limit: TimingRecord | None) -> Share | None:
    """The limit's time over the record's; None without a limit."""
    if limit is None or not record.time_ns or not limit.time_ns:
        return None
    ratio = times_as_fast(record, limit)
    if ratio is not None:
        return Share(*(100.0 * r for r in ratio))
    return Share(100.0 * limit.time_ns / record.time_ns)


@dataclass(frozen=True)
class Panel:
    """The limits of one regime of a group, by class count."""

    run: RunData
    group: Group
    regime: str

    @cached_property
    def by_name(self) -> Mapping[str, Mapping[int, ThroughputRecord]]:
        found = limits(self.run, self.group, self.regime, operations=("copy", "exp"))
        return {n: {c.classes: c for c in cs if c.classes} for n, cs in found.items()}

    def binding(self, classes: int) -> ThroughputRecord | None:
        """The limit that holds at a class count: the best copy, or what takes longer still."""

        def took(record: ThroughputRecord) -> float:
            return known(record.time_ns)

        here = {n: at[classes] for n, at in self.by_name.items() if classes in at}
        copies = [c for n, c in here.items() if n in (NONTEMPORAL, REGULAR)]
        if not copies:
            return None
        return max([min(copies, key=took), *(c for c in [here.get(EXPONENTIAL)] if c)], key=took)

    def points(self, name: str) -> list[Point]:
        """The times of an implementation as shares of the limits that hold, where one does."""
        found = curve(of(timed(self.run, self.group), name), self.regime)
        return [
            Point(n, *at, c)
            for n, c in ((known(c.classes), c) for c in found)
            if (at := share(c, self.binding(n))) is not None
        ]

    def lines(self) -> dict[str, list[Point]]:
        """Each limit as a share of the one that holds, by its title."""
        return {
            title: [
                Point(n, min(s.percent, _TOP), None, None, c)
                for n, limit in sorted(self.by_name.get(name, {}).items())
                if (c := self.binding(n)) is not None and (s := share(limit, c)) is not None
            ]
            for name, title in _TITLES.items()
        }

    @property
    def classes(self) -> list[int]:
        return sorted({n for at in self.by_name.values() for n in at})


def limited(run: RunData) -> list[Group]:
    """The groups of timings of a run beside which a limit was timed."""
    return [g for g in groups(run) if any(Panel(run, g, r).classes for r in BOUNDED)]


def panels(run: RunData, group: Group) -> list[Panel]:
    """The regimes of a group that have both a limit and a timing of an implementation."""
    found = [Panel(run, group, regime) for regime in BOUNDED]
    return [p for p in found if any(p.points(n) for n in run.implementations)]


def by_classes(run: RunData, group: Group, style: Mapping[str, Style], stem: str) -> Plot:
    """A panel a regime: share of the limit against class count."""
    shown = panels(run, group)
    title = f"How far from the limit, {group.title}"
    table = shares(run, group, shown, f"{stem}-table")
    if not shown:
        return Plot.nothing(stem, title, ": no limit was timed beside these.", table)
    fig, drawn_in = grid(len(shown), 2, 3.1, right=LABELS, between=LABELS + 0.35)
    drawn: list[TimingRecord] = []
    for place, panel in zip(drawn_in, shown, strict=True):
        curves = {name: panel.points(name) for name in run.implementations}
        drawn += [p.record for points in curves.values() for p in points]
        draw(place, curves, panel.lines(), style, chosen(run), "%", _TOP)
        place.axes.set_title(f"{panel.regime}: {_MEANING[panel.regime].split(':')[0]}")
    regimes = " ".join(f"{p.regime.capitalize()}: {_MEANING[p.regime]}." for p in shown)
    absent = absent_text(run.absent(drawn, lambda c: c.time_ns, group.dtype))
    caption = prose(
        "limits", workload=group.workload, regimes=regimes, top=f"{_TOP:.0f}", absent=absent
    )
    return Plot(stem, title, caption, _alt(title, shown), table, fig)


def _alt(title: str, shown: Sequence[Panel]) -> str:
    text = f"{title}; regimes {', '.join(p.regime for p in shown)}."
    for panel in shown:
        found = [p for n in panel.run.implementations for p in panel.points(n)]
        good = [p for p in found if not struck(p.record)]
        if good:
            p = max(good, key=lambda p: p.value)
            text += (
                f" {panel.regime.capitalize()}: nearest is {p.record.implementation} with "
                f"{figure(p.value)}% at {integer(p.classes)} classes."
            )
    return text


def shares(run: RunData, group: Group, shown: Sequence[Panel], name: str) -> Table:
    """Every share that is drawn, and those of each limit by itself."""
    rows = []
    for panel in shown:
        for implementation in run.implementations:
            for n, percent, low, high, c in panel.points(implementation):
                each = (panel.by_name.get(k, {}).get(n) for k in _TITLES)
                rows.append([
                    words(implementation), words(panel.regime), count(n), number(c.gbps),
                    timing_entry(percent, c, interval(low, high)),
                    words(_name_of(panel.binding(n))), *(_share_entry(c, limit) for limit in each),
                ])  # fmt: skip
    columns = [
        *texts("Implementation", "Regime"), Column("Classes"), Column("Bandwidth", "GB/s"),
        Column("Of its limit", "%"), *texts("Limit"), Column("Of non-temporal copy", "%"),
        Column("Of regular copy", "%"), Column("Of exponentials alone", "%"),
    ]  # fmt: skip
    return Table(name, f"Shares of the limits, {group.title}", columns, rows)


def _name_of(limit: ThroughputRecord | None) -> str:
    return _TITLES.get(limit.implementation, "") if limit else ""


def _share_entry(record: TimingRecord, limit: TimingRecord | None) -> Entry:
    found = share(record, limit)
    if found is None:
        return missing("none", "this limit was not timed at this point, or does not apply")
    return timing_entry(found.percent, record)


def summary(run: RunData, group: Group, panel: Panel) -> Table:
    """Implementation × class count: the share of the binding limit."""
    points = {(name, p.classes): p for name in run.implementations for p in panel.points(name)}

    def entry(name: str, n: int) -> Entry:
        if (name, n) not in points:
            here = at_point(of(timed(run, group), name), panel.regime, n)
            return missing(*why_untimed(run, name, here, group.dtype))
        p = points[name, n]
        return timing_entry(p.value, p.record, interval(p.low, p.high))

    table = pivot(
        f"limit-{panel.regime}", f"Share of the limit, {panel.regime}, {group.title}",
        fastest_first(run), {n: Column(f"n = {integer(n)}", "%") for n in panel.classes}, entry,
        [prose("limit_shares", meaning=_MEANING[panel.regime])], best=True,
    )  # fmt: skip
    none = missing("none", "no limit was timed at this point")
    limit_row = [
        none if (c := panel.binding(n)) is None
        else Entry(f"{figure(c.gbps)} GB/s", c.gbps, "quiet", detail=_name_of(c))
        for n in panel.classes
    ]  # fmt: skip
    rows = [*table.rows, [words("the limit"), *limit_row]]
    return replace(table, rows=rows, about={"regime": panel.regime})
