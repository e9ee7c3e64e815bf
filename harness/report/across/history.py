"""The history of every machine: ratios and errors over its runs, and where they changed.

Absolute times of different days are never drawn in one line: a ratio to the baseline was measured
beside the baseline, in the same rounds. Machines are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from harness.records import AccuracyRecord
from harness.records.timing import CONTROL_SUFFIX, TimingRecord
from harness.report.across import machines
from harness.report.across.machines import by_machine, commit, errors, head, title, when
from harness.report.across.page import Page, Part
from harness.report.drawing import style as palette
from harness.report.drawing.figure import (
    Plot,
    broken,
    draw_line,
    grid,
    label_ends,
    log_scale,
)
from harness.report.drawing.formatting import figure, integer, interval, listed, plural
from harness.report.drawing.prose import prose
from harness.report.drawing.sanitize import label, slug
from harness.report.drawing.style import Style
from harness.report.drawing.svg import Series
from harness.report.drawing.tables import Column, Entry, Table, number, texts, words
from harness.report.pages.timing_curves import LABELS
from harness.report.run_data import DTYPES, REGIMES, RunData, known
from harness.report.timing_selection import has_time, preferred, struck

NEAR = 1000
"""Classes: of the counts that a group was timed at, the one nearest to it is followed."""

_LABELS = 12  # runs named on an axis, at most


class Group(NamedTuple):
    """What the ratios of a panel have in common."""

    operation: str
    dtype: str
    device: str
    threads: int | None
    regime: str
    workload: str
    baseline: str

    @property
    def rank(self) -> tuple[object, ...]:
        """Softmax, float32 and many threads in front, as on the pages of a run."""
        dtype = DTYPES.index(self.dtype) if self.dtype in DTYPES else len(DTYPES)
        regime = REGIMES.index(self.regime) if self.regime in REGIMES else len(REGIMES)
        return (self.operation != "softmax", self.operation, self.device != "cpu", self.device,
                self.dtype != "float32", dtype, -(self.threads or 0), -regime, self)  # fmt: skip

    @property
    def text(self) -> str:
        threads = "threads as found" if self.threads is None else plural(self.threads, "thread")
        parts = [self.operation, self.dtype, threads, self.regime]
        return ", ".join(parts[self.operation == "softmax" :])


class Panel(NamedTuple):
    """A group at one size.

    Attributes:
        series: by implementation its timing in each run, by the place of the run.
    """

    group: Group
    classes: int
    rows: int
    series: Mapping[str, Mapping[int, TimingRecord]]

    @property
    def text(self) -> str:
        return f"{self.group.text}, n = {integer(self.classes)}, against {self.group.baseline}"


class Step(NamedTuple):
    """A change from one run to the next that measured the same."""

    before: int
    after: int
    name: str


def _groups(
    runs: Sequence[RunData],
) -> dict[Group, dict[tuple[int, int], dict[str, dict[int, list[TimingRecord]]]]]:
    found: dict[Group, Any] = {}
    for k, run in enumerate(runs):
        for c in run.records:
            if (
                not isinstance(c, TimingRecord) or c.role != "implementation" or not c.speedup
                or c.implementation == c.baseline or not has_time(c) or struck(c)
                or getattr(c, "cache", None) == "cold" or not c.classes
            ):  # fmt: skip
                continue
            group = Group(c.operation, str(c.dtype), str(c.device), c.threads,
                          str(getattr(c, "regime", None)), str(c.workload),
                          str(c.baseline).removesuffix(CONTROL_SUFFIX))  # fmt: skip
            size = found.setdefault(group, {}).setdefault((c.classes, c.rows or 0), {})
            size.setdefault(c.implementation, {}).setdefault(k, []).append(c)
    return found


def panels(runs: Sequence[RunData]) -> list[Panel]:
    """The groups in which an implementation was timed twice, at the size nearest to `NEAR`."""
    found = []
    for group, sizes in sorted(_groups(runs).items(), key=lambda item: item[0].rank):
        several = [
            size for size, names in sizes.items() if any(len(at) > 1 for at in names.values())
        ]
        if several:
            near = min(several, key=lambda size: (abs(math.log(size[0] / NEAR)), size))
            series = {
                name: {k: c for k, here in at.items() if (c := preferred(here)) is not None}
                for name, at in sizes[near].items()
            }
            found.append(Panel(group, *near, series))
    return found


def _apart(a: TimingRecord, b: TimingRecord) -> bool:
    """Whether two ratios differ: both are known, and their intervals do not overlap."""
    if a.noisy or b.noisy or a.allocating != b.allocating:
        return False
    ends = (a.speedup_low, a.speedup_high, b.speedup_low, b.speedup_high)
    if any(e is None for e in ends):
        return False
    return known(b.speedup_low) > known(a.speedup_high) or known(b.speedup_high) < known(
        a.speedup_low
    )


def _neighbours(series: Mapping[int, TimingRecord]) -> Iterator[tuple[int, int]]:
    yield from pairwise(sorted(series))


def steps(panel: Panel) -> list[Step]:
    """Where an implementation's ratio changed."""
    return [
        Step(i, k, name)
        for name, series in panel.series.items()
        for i, k in _neighbours(series)
        if _apart(series[i], series[k])
    ]


def _changed(a: RunData, b: RunData, name: str, baseline: str | None = None) -> str:
    """What is known to have changed from one run to the next, beside the commit."""
    found = []
    for of, text in ((name, "its source"), (baseline, "the baseline's source")):
        first, second = (run.about(of) if of else None for run in (a, b))
        if first and second and first.sha256 != second.sha256:
            found.append(text)
    for package in sorted({*a.info.versions, *b.info.versions}):
        old, new = (run.info.versions.get(package, "none") for run in (a, b))
        if old != new:
            found.append(f"{package} {old} → {new}")
    if a.info.machine.get("kernel") != b.info.machine.get("kernel"):
        found.append("the kernel")
    return ", ".join(found) or "nothing that the runs record"


def _commits(a: RunData, b: RunData) -> Entry:
    before, after = commit(a.info), commit(b.info)
    return words(f"{before} → {after}" if before != after else f"{after}, the same")


def _between(a: RunData, b: RunData) -> list[Entry]:
    return [head(a), head(b), _commits(a, b)]


_BETWEEN = ("From run", "To run", "Commits")


def _ratio(c: TimingRecord) -> Entry:
    return number(c.speedup, detail=interval(c.speedup_low, c.speedup_high))


def step_table(runs: Sequence[RunData], found: Sequence[Panel], key: str) -> Table:
    """Every step of a ratio; the largest first."""
    rows = []
    compared = 0
    for panel in found:
        compared += sum(len(series) - 1 for series in panel.series.values())
        for i, k, name in steps(panel):
            a, b = panel.series[name][i], panel.series[name][k]
            change = known(b.speedup) / known(a.speedup)
            sort = abs(math.log(change))
            rows.append((sort, [
                words(name), words(panel.text), _ratio(a), _ratio(b),
                Entry(f"{'+' if change > 1 else '−'}{figure(100 * abs(change - 1))}%", change - 1,
                      "best" if change > 1 else "bad"),
                *_between(runs[i], runs[k]),
                words(_changed(runs[i], runs[k], name, panel.group.baseline)),
            ]))  # fmt: skip
    columns = [
        *texts("Implementation", "Point"), Column("Before", "× baseline"),
        Column("After", "× baseline"), Column("Change"), *texts(*_BETWEEN, "What else changed"),
    ]  # fmt: skip
    ordered = [row for _, row in sorted(rows, key=lambda pair: -pair[0])]
    return Table(f"steps-{key}", "Steps of the ratios, the largest first", columns, ordered,
                 [prose("history_steps", compared=compared)])  # fmt: skip


def error_table(runs: Sequence[RunData], key: str) -> Table:
    """Where the largest error on inputs that two neighbouring runs share is another one."""
    rows = []
    operations = dict.fromkeys(o for run in runs for o in run.operations(AccuracyRecord))
    for operation in operations:
        for dtype in DTYPES:
            given = [errors(run, dtype, operation) for run in runs]
            for name in dict.fromkeys(n for found in given for n in found):
                having = [k for k, found in enumerate(given) if name in found]
                for i, k in pairwise(having):
                    shared = given[i][name].keys() & given[k][name].keys()
                    if not shared:
                        continue
                    before, after = (
                        max(known(given[at][name][x].max_ulp) for x in shared) for at in (i, k)
                    )
                    if before != after:
                        kind = "bad" if after > before else "best"
                        rows.append([
                            words(name), words(f"{operation}, {dtype}"), Entry(integer(len(shared)),
                            len(shared)), number(before), number(after, kind=kind),
                            *_between(runs[i], runs[k]), words(_changed(runs[i], runs[k], name)),
                        ])  # fmt: skip
    columns = [
        *texts("Implementation", "What"), Column("Shared inputs"), Column("Before", "ulp"),
        Column("After", "ulp"), *texts(*_BETWEEN, "What else changed"),
    ]  # fmt: skip
    return Table(f"error-steps-{key}", "Largest errors that changed", columns, rows,
                 [prose("history_errors")])  # fmt: skip


def _points_table(runs: Sequence[RunData], found: Sequence[Panel], name: str) -> Table:
    rows = [
        [
            words(name), words(panel.text), head(runs[k]), words(commit(runs[k].info)),
            number(c.speedup, detail=interval(c.speedup_low, c.speedup_high)),
            words("not known to the precision wanted" if c.noisy else ""),
        ]
        for panel in found
        for name, series in panel.series.items()
        for k, c in sorted(series.items())
    ]  # fmt: skip
    columns = [*texts("Implementation", "Point", "Run", "Commit"), Column("Ratio", "× baseline"),
               *texts("Doubt")]  # fmt: skip
    return Table(name, "Ratios to the baseline, run by run", columns, rows)


def _draw(axes: Any, panel: Panel, places: Mapping[int, int], style: Mapping[str, Style]) -> None:
    """The ratios of a panel with their intervals, the noisy and those after a step marked."""
    marked = {(s.name, s.after) for s in steps(panel)}
    for name, timings in panel.series.items():
        mine = style[name]
        series = Series(name, mine.colour, True)
        runs = sorted(timings)
        ratios = {k: known(timings[k].speedup) for k in runs}
        tips = [f"{figure(ratios[k])} × {panel.group.baseline}" for k in runs]
        at = [places[k] for k in runs], [ratios[k] for k in runs]
        draw_line(axes, name, mine, at, on=True, tips=tips)
        bars = [
            ([places[k]] * 2, [known(c.speedup_low), known(c.speedup_high)])
            for k, c in timings.items()
            if c.speedup_low is not None and c.speedup_high is not None
        ]
        for wanted, options in (
            (broken(bars), {"color": mine.colour, **palette.BAR}),
            (_at(ratios, places, [k for k in runs if timings[k].noisy]), palette.NOISY),
            (_at(ratios, places, [k for k in runs if (name, k) in marked]), palette.FAILED),
        ):
            if wanted[0]:
                (line,) = axes.plot(*wanted, **options)
                axes.figure.mark(line, series)


def _at(
    ratios: Mapping[int, float], places: Mapping[int, int], runs: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Where some of the ratios are drawn."""
    return [places[k] for k in runs], [ratios[k] for k in runs]


def plot(runs: Sequence[RunData], found: Sequence[Panel], style: Mapping[str, Style], stem: str,
         table: Table) -> Plot:  # fmt: skip
    """A panel a group: ratios to the baseline over the runs that timed it."""
    at = sorted({k for panel in found for series in panel.series.values() for k in series})
    places = {k: x for x, k in enumerate(at)}
    fig, axes = grid(len(found), 2, 2.2, right=LABELS, between=LABELS + 0.4, below=0.75, foot=0.35)
    for one, panel in zip(axes, found, strict=True):
        shown = [
            v for series in panel.series.values() for c in series.values()
            for v in (c.speedup, c.speedup_low, c.speedup_high) if v
        ]  # fmt: skip
        log_scale(shown).apply(one.axes.yaxis)
        one.axes.set_xlim(-0.4, len(at) - 0.6)
        _draw(one.axes, panel, places, style)
        ends = {n: (places[k := max(s)], known(s[k].speedup)) for n, s in panel.series.items()}
        label_ends(one.axes, ends, style, ends)
        named = at[:: math.ceil(len(at) / _LABELS)]
        texts_ = [f"{when(runs[k])[5:10]} {commit(runs[k].info, dirty=False)[:7]}" for k in named]
        one.axes.set_xticks([places[k] for k in named])
        one.axes.set_xticklabels([label(t, 16) for t in texts_] if one.bottom else [], rotation=30,
                                 ha="right", fontsize=6.5)  # fmt: skip
        one.name(label(f"{panel.group.text}, n = {integer(panel.classes)}", 44), "", "× baseline")
    count = sum(len(steps(panel)) for panel in found)
    what = f"Ratios to the baseline over {plural(len(at), 'run')} of {title(runs[0])}"
    names = listed(sorted({n for panel in found for n in panel.series}))
    alt = f"{what}, a panel a group of timings, for {names}. Steps marked: {count}."
    return Plot(stem, what, prose("history_plot"), alt, table, fig)


def _told(found: Sequence[Panel], changed: Table, other: Table) -> str:
    """What the history of a machine comes to, in a sentence."""
    errors_ = plural(len(other.rows), "change") + " of a largest error"
    if not found:
        return (
            "No two runs timed the same group at the same size against the same baseline; "
            f"{errors_}."
        )
    followed = sum(len(panel.series) for panel in found)
    text = f"{plural(len(changed.rows), 'step')} (ratios followed: {integer(followed)})"
    if changed.rows:
        name, point, _, _, change, *_ = (entry.text for entry in changed.rows[0])
        text += f", the largest that of {name}, {change} ({point})"
    return f"{text}; {errors_}."


def _part(runs: Sequence[RunData], style: Mapping[str, Style]) -> tuple[str, Part]:
    """The history of one machine: in a sentence, and as a figure for each operation."""
    key = machines.key(runs[0])
    found = panels(runs)
    changed, other = step_table(runs, found, key), error_table(runs, key)
    plots = []
    for operation in dict.fromkeys(panel.group.operation for panel in found):
        mine = [panel for panel in found if panel.group.operation == operation]
        stem = f"history-{key}-{slug(operation)}"
        plots.append(plot(runs, mine, style, stem, _points_table(runs, mine, f"{stem}-table")))
    tables = [t for t in (changed, other) if t.rows]
    head_ = f"{title(runs[0])}, {plural(len(runs), 'run')}"
    told = _told(found, changed, other)
    return f"{head_}: {told}", Part(head_, f"history-of-{key}", plots=plots, tables=tables)


def page(runs: Sequence[RunData], style: Mapping[str, Style]) -> Page:
    """Every machine with more than one run."""
    boxes = by_machine(runs)
    told = [_part(box, style) for box in boxes if len(box) > 1]
    alone = [title(box[0]) for box in boxes if len(box) == 1]
    lead = [text for text, _ in told] or ["No machine has more than one run."]
    if alone:
        lead.append(f"One run alone, and so no history: {', '.join(alone)}.")
    lead.append(prose("history_lead"))
    return Page("history.html", "History", lead, [part for _, part in told])
