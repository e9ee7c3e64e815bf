"""How far from the limit: every timing as a share of what the machine can do at best.

The limits are those that were timed in the same rounds: copies of the same bytes with regular and
with non-temporal stores, and, in cache, one exponential an element. Shares are ratios of times
paired by round, not quotients of figures from different runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.numerics.statistics import paired_ratio
from harness.report.drawing import style as palette
from harness.report.drawing.figure import Plot, class_axis, grid, side_legend
from harness.report.drawing.formatting import figure, integer, interval
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Column, Entry, Table, missing, pivot, texts, words
from harness.report.pages.throughput_tables import timing_entry
from harness.report.run_data import Cell, RunData, absent_text, of
from harness.report.timing_selection import Group, at_point, curve, groups, limits, struck, timed

LEAD = (
    "Each time as a share of the best that this machine showed in the same rounds: 100% is the "
    "time of the limit itself. A softmax reads every logit and writes every result, so no data "
    "beyond the caches passes faster than a copy. In cache memory is no limit, and the cost of one "
    "exponential an element is: it is shown as such, and it leaves out the maximum, the sum and "
    "the product. Single rows have no limit of this kind: their time is the overhead of a call."
)
_TOP = 150.0  # per cent; beyond it the limit was disturbed, and the curves matter more
BOUNDED = ("cached", "streaming")
NONTEMPORAL, REGULAR, EXPONENTIAL = "copy_nontemporal", "copy_regular", "exp_only"
_TITLES = {
    NONTEMPORAL: "copy: non-temporal",
    REGULAR: "copy: regular stores",
    EXPONENTIAL: "one exponential an element",
}
_DASHES = {NONTEMPORAL: (5.0, 2.0), REGULAR: (1.2, 1.4), EXPONENTIAL: (7.0, 2.0, 1.2, 2.0)}
_MEANING = {
    "cached": "% of the limit that is lower: a copy, or one exponential an element",
    "streaming": "% of the best copy",
}


@dataclass(frozen=True)
class Share:
    """A time as a share of a limit's, in per cent; the interval where rounds could be paired."""

    percent: float
    low: float | None = None
    high: float | None = None


def share(cell: Cell, limit: Cell | None) -> Share | None:
    """The limit's time over the cell's; None without a limit."""
    if limit is None or not cell.get("median_ns") or not limit.get("median_ns"):
        return None
    mine, best = cell.get("samples_ns") or (), limit.get("samples_ns") or ()
    if len(mine) == len(best) and len(mine) > 1 and min(mine) > 0:
        ratio = paired_ratio(best, mine)
        return Share(100.0 * ratio.median, 100.0 * ratio.ci_low, 100.0 * ratio.ci_high)
    return Share(100.0 * float(limit["median_ns"]) / float(cell["median_ns"]))


@dataclass(frozen=True)
class Panel:
    """The limits of one regime of a group, by class count."""

    run: RunData
    group: Group
    regime: str

    @property
    def by_name(self) -> Mapping[str, Mapping[int, Cell]]:
        found = limits(self.run, self.group, self.regime, operations=("copy", "exp"))
        return {name: {c["classes"]: c for c in cells} for name, cells in found.items()}

    def binding(self, classes: int) -> Cell | None:
        """The limit that holds at a class count: the best copy, or what takes longer still."""
        here = {n: cells[classes] for n, cells in self.by_name.items() if classes in cells}
        copies = [c for n, c in here.items() if n in (NONTEMPORAL, REGULAR)]
        if not copies:
            return None
        copy = min(copies, key=lambda c: float(c["median_ns"]))
        exponential = here.get(EXPONENTIAL)
        if exponential is not None and exponential["median_ns"] > copy["median_ns"]:
            return exponential
        return copy

    def points(self, name: str) -> list[Cell]:
        found = curve(of(timed(self.run, self.group), name), self.regime)
        return [c for c in found if self.binding(c["classes"]) is not None]

    @property
    def classes(self) -> list[int]:
        return sorted({n for cells in self.by_name.values() for n in cells})


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
        return Plot(
            stem, title, "Nothing to draw: no limit was timed beside these.", "", table, None
        )
    fig, axes_of = grid(len(shown), 2, 3.1, right=1.85, between=0.55)
    handles: dict[str, Any] = {}
    drawn: list[Cell] = []
    for axes, panel in zip(axes_of, shown, strict=True):
        for name in run.implementations:
            points = panel.points(name)
            if points:
                handles[name] = _draw(axes, panel, points, style[name])
                drawn += points
        axes.set_ylim(0.0, _TOP)
        for name, dashes in _DASHES.items():
            line = [
                (n, share(at, c))  # of the limit that holds, by this one
                for n, at in sorted(panel.by_name.get(name, {}).items())
                if (c := panel.binding(n)) is not None
            ]
            xy = [(n, s.percent) for n, s in line if s is not None]
            if xy:
                (handles[_TITLES[name]],) = axes.plot(
                    [n for n, _ in xy], [min(y, _TOP) for _, y in xy], color=palette.LIMIT,
                    linewidth=1.0, dashes=dashes, zorder=1.5,
                )  # fmt: skip
        class_axis(axes, panel.classes)
        axes.set_title(f"{panel.regime} — {_MEANING[panel.regime].split(':')[0]}")
        axes.set_xlabel("classes")
    side_legend(fig, handles, [*run.implementations, *_TITLES.values()], 1.77, 30)
    caption = (
        f"Workload {group.workload}. Time of the limit over the time of the implementation, paired "
        "by round; grey, the limits by themselves, the lower of which is 100%. "
        + " ".join(f"{p.regime.capitalize()}: {_MEANING[p.regime]}." for p in shown)
        + " Hollow ring: noisy; cross: failed the accuracy gate. Above 100%: the limit was "
        "disturbed, or can be passed (a cheaper exponential). A triangle on the upper edge: more "
        f"than {_TOP:.0f}%, see the table."
        + absent_text(run.absent(drawn, "median_ns", dtype=group.dtype))
    )
    return Plot(stem, title, caption, _alt(title, shown), table, fig)


def _draw(axes: Any, panel: Panel, points: Sequence[Cell], style: Style) -> Any:
    found = [(c, share(c, panel.binding(c["classes"]))) for c in points]
    xy = [(c["classes"], s.percent) for c, s in found if s is not None]
    (handle,) = axes.plot(
        [x for x, _ in xy], [min(y, _TOP) for _, y in xy], color=style.colour, linestyle=style.line,
        marker=style.marker, linewidth=1.3,
    )  # fmt: skip
    for c, s in found:
        if s is None:
            continue
        if s.percent > _TOP:
            axes.plot([c["classes"]], [_TOP], marker="^", markersize=8.0, linestyle="none",
                      color=style.colour, clip_on=False)  # fmt: skip
            continue
        if s.low is not None and s.high is not None:
            axes.plot([c["classes"]] * 2, [s.low, s.high], color=style.colour, linewidth=2.4,
                      alpha=0.45, solid_capstyle="butt")  # fmt: skip
        if c.get("noisy"):
            axes.plot([c["classes"]], [s.percent], marker="o", markersize=8.0, linestyle="none",
                      markerfacecolor="none", markeredgecolor=palette.MUTED,
                      markeredgewidth=0.8)  # fmt: skip
        if struck(c):
            axes.plot([c["classes"]], [s.percent], marker="x", markersize=8.0, linestyle="none",
                      markeredgecolor=palette.ALERT, markeredgewidth=1.4)  # fmt: skip
    return handle


def _best(panel: Panel) -> tuple[Cell, Share] | None:
    """The timing nearest to its limit, of those that passed the gate."""
    found = [
        (c, s)
        for name in panel.run.implementations
        for c in panel.points(name)
        if not struck(c) and (s := share(c, panel.binding(c["classes"]))) is not None
    ]
    return max(found, key=lambda pair: pair[1].percent, default=None)


def _alt(title: str, shown: Sequence[Panel]) -> str:
    text = f"{title}; regimes {', '.join(p.regime for p in shown)}."
    for panel in shown:
        best = _best(panel)
        if best is not None:
            cell, at = best
            text += (
                f" {panel.regime.capitalize()}: nearest is {cell['implementation']} with "
                f"{figure(at.percent)}% at {integer(cell['classes'])} classes."
            )
    return text


def shares(run: RunData, group: Group, shown: Sequence[Panel], name: str) -> Table:
    """Every share that is drawn, and those of each limit by itself."""
    rows = []
    for panel in shown:
        for implementation in run.implementations:
            for cell in panel.points(implementation):
                at = panel.binding(cell["classes"])
                row = [words(implementation), words(panel.regime),
                       Entry(integer(cell["classes"]), cell["classes"]),
                       Entry(figure(cell.get("gbps")), cell.get("gbps") or "")]  # fmt: skip
                row.append(_entry(cell, at))
                row.append(words(_TITLES.get(str((at or {}).get("implementation")), "")))
                for limit in (NONTEMPORAL, REGULAR, EXPONENTIAL):
                    other = panel.by_name.get(limit, {}).get(cell["classes"])
                    row.append(_entry(cell, other, interval_shown=False))
                rows.append(row)
    columns = [
        *texts("Implementation", "Regime"), Column("Classes"), Column("Bandwidth", "GB/s"),
        Column("Of its limit", "%"), *texts("Limit"), Column("Of non-temporal copy", "%"),
        Column("Of regular copy", "%"), Column("Of exponentials alone", "%"),
    ]  # fmt: skip
    return Table(name, f"Shares of the limits, {group.title}", columns, rows)


def _entry(cell: Cell, limit: Cell | None, interval_shown: bool = True) -> Entry:
    found = share(cell, limit)
    if found is None:
        return missing("none", "this limit was not timed at this point, or does not apply")
    detail = interval(found.low, found.high) if interval_shown else ""
    return timing_entry(figure(found.percent), found.percent, cell, detail or None)


def summary(run: RunData, group: Group, panel: Panel) -> Table:
    """Implementation × class count: the share of the binding limit."""
    best: dict[int, float] = {}
    found: dict[tuple[str, int], tuple[Cell, Share]] = {}
    for name in run.implementations:
        for cell in panel.points(name):
            at = share(cell, panel.binding(cell["classes"]))
            if at is not None:
                found[name, cell["classes"]] = cell, at
                if not struck(cell):
                    best[cell["classes"]] = max(at.percent, best.get(cell["classes"], 0.0))

    def entry(name: str, n: int) -> Entry:
        if (name, n) not in found:
            here = at_point(of(timed(run, group), name), panel.regime, n)
            return missing(*run.why(name, here, dtype=group.dtype))
        cell, at = found[name, n]
        detail = interval(at.low, at.high) or None
        shown = timing_entry(figure(at.percent), at.percent, cell, detail)
        return (
            replace(shown, kind="best") if not shown.kind and at.percent == best.get(n) else shown
        )

    limit_row = [words("the limit")]
    for n in panel.classes:
        at_n = panel.binding(n)
        named = _TITLES.get(str((at_n or {}).get("implementation")), "")
        limit_row.append(
            Entry(f"{figure(at_n.get('gbps'))} GB/s", at_n.get("gbps"), "quiet", detail=named)
            if at_n is not None else missing("none", "no limit was timed at this point")
        )  # fmt: skip
    table = pivot(
        f"limit-{panel.regime}", f"Share of the limit, {panel.regime}, {group.title}",
        run.implementations, {n: Column(f"n = {integer(n)}", "%") for n in panel.classes}, entry,
        (f"{_MEANING[panel.regime]}. Second line: 95% bootstrap interval. Bold: nearest to the "
         "limit among those that passed the accuracy gate.",),
    )  # fmt: skip
    return replace(table, rows=[*table.rows, limit_row])
