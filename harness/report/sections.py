"""Sections: which figures and tables stand below each heading of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.records import AccuracyRecord, OverflowRecord
from harness.report import timing_selection
from harness.report.drawing.figure import Plot
from harness.report.drawing.sanitize import slug
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Table
from harness.report.pages import (
    accuracy,
    accuracy_tables,
    conformance,
    conformance_details,
    device,
    device_plots,
    exhaustive,
    limits,
    overflow,
    thresholds,
    throughput,
    throughput_conditions,
    throughput_tables,
    worst_cases,
)
from harness.report.run_data import REGIMES, RunData

Styles = Mapping[str, Style]


@dataclass(frozen=True)
class Section:
    """A heading with the figures and tables below it."""

    title: str
    id: str
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    details: Sequence[Table] = ()
    lead: str = ""
    evidence: Sequence[conformance_details.Detail] = ()


def renamed(table: Table, tail: str) -> Table:
    """The table under a name of its own within the site."""
    return table.under(tail) if tail else table


@dataclass(frozen=True)
class _Names:
    """How sections of an operation are called; softmax goes without saying.

    Attributes:
        head: before a title.
        tail: behind the names of tables and figures.
    """

    head: str
    tail: str

    def key(self, dtype: str) -> str:
        """Of the section of a format."""
        return "-".join(p for p in (slug(dtype), self.tail) if p)


def _names(operation: str) -> _Names:
    plain = operation == "softmax"
    return _Names("" if plain else f"{operation}, ", "" if plain else slug(operation))


def of_conformance(run: RunData) -> list[Section]:
    """A section for each operation: the cases that tell implementations apart, and the others."""
    found = []
    for grid in conformance.grids(run):
        key = slug(grid.operation)
        telling, quiet = conformance.matrices(run, grid, key)
        found.append(Section(
            grid.operation, key, (), [telling] if telling else [], [quiet] if quiet else [],
            evidence=conformance_details.details(run, grid),
        ))  # fmt: skip
    return found


def _accuracy(run: RunData, styles: Styles) -> list[Section]:
    found = []
    for operation in run.operations(AccuracyRecord):
        names = _names(operation)
        head, tail = names.head, names.tail
        for dtype in run.dtypes(AccuracyRecord):
            key = names.key(dtype)
            found.append(Section(
                f"{head}{dtype}", key,
                [accuracy.ulp_by_classes(run, dtype, operation, styles, f"ulp-{key}")],
                [renamed(t, tail) for t in (
                    accuracy_tables.histogram(run, dtype, operation),
                    accuracy_tables.metrics(run, dtype, operation),
                    accuracy_tables.by_workload(run, dtype, operation),
                )],
            ))  # fmt: skip
        found.append(Section(
            f"{head}scale of the logits".capitalize(), f"scale{tail}",
            [accuracy.ulp_by_scale(run, operation, styles, f"ulp-scale{tail}")],
        ))  # fmt: skip
        found.append(Section(
            f"{head}worst inputs".capitalize(), f"worst{tail}", (),
            [renamed(accuracy_tables.worst_inputs(run, operation), tail)],
        ))  # fmt: skip
    return found


def _overflow(run: RunData, styles: Styles) -> list[Section]:
    found = []
    for operation in run.operations(OverflowRecord):
        names = _names(operation)
        head, tail = names.head, names.tail
        for dtype in run.dtypes(OverflowRecord):
            key = names.key(dtype)
            plots = []
            if overflow.map_records(run, dtype, operation):
                plots = [overflow.outcome_map(run, dtype, operation, f"map-{key}")]
            found.append(Section(
                f"{head}{dtype}", key, plots,
                [renamed(thresholds.thresholds(run, dtype, operation), tail)],
                [renamed(thresholds.details(run, dtype, operation), tail)],
            ))  # fmt: skip
    return found


def _throughput(run: RunData, styles: Styles) -> list[Section]:
    found = []
    for group in timing_selection.groups(run):
        key = slug(group.key)
        tables = [
            throughput_tables.ratios(run, group, regime)
            for regime in REGIMES
            if any(c.regime == regime for c in timing_selection.timed(run, group))
        ]
        more = [
            throughput_tables.allocation(run, group),
            throughput_tables.control_table(run, group),
            throughput_conditions.cold_caches(run, group),
            throughput_conditions.peak_memory(run, group),
        ]
        tables += [t for t in more if t is not None]
        plots = [throughput.by_classes(run, group, styles, f"throughput-{key}")]
        prepared = throughput_conditions.preparation(run, group)
        details = [] if prepared is None else [renamed(prepared, key)]
        shown = [renamed(t, key) for t in tables]
        found.append(Section(group.title, key, plots, shown, details))
    about = (throughput_conditions.conditions(run), throughput_conditions.doubts(run))
    if any(about):
        known = [t for t in about if t is not None]
        found.append(Section("Conditions and doubts", "conditions", (), known))
    gaps = throughput_tables.untimed(run)
    if gaps is not None:
        found.append(Section("Not timed", "untimed", (), [gaps]))
    return found


def _limits(run: RunData, styles: Styles) -> list[Section]:
    found = []
    for group in limits.limited(run):
        key = slug(group.key)
        plot = limits.by_classes(run, group, styles, f"limits-{key}")
        shown = limits.panels(run, group)
        tables = [renamed(limits.summary(run, group, panel), key) for panel in shown]
        found.append(Section(group.title, key, [plot], tables))
    return found


def _device(run: RunData, styles: Styles) -> list[Section]:
    found = []
    for group in device.groups(run):
        plot = device_plots.by_classes(run, group, styles)
        shown = [device.speeds(run, group), device.ratios(run, group)]
        plots = () if plot is None else (plot,)
        found.append(Section(device.title(group), group.key, plots, shown))
    for text, table in (
        (device.NOT_RUN, device.not_run(run)),
        ("Conditions", device.conditions(run)),
        ("Transfers", device.transfers(run)),
    ):
        if table is not None:
            found.append(Section(text, slug(text), (), [table]))
    return found


def _exhaustive(run: RunData, styles: Styles) -> list[Section]:
    found = []
    for table in exhaustive.tables_of(run):
        more = exhaustive.histogram(run, table)
        found.append(Section(
            exhaustive.title(table), slug(table), (), [exhaustive.judged_table(run, table)],
            [more] if more else [],
        ))  # fmt: skip
    return found


def _worst_cases(run: RunData, styles: Styles) -> list[Section]:
    titled = (("Searches", worst_cases.searched(run)), ("Corpus", worst_cases.replayed(run)))
    return [Section(text, slug(text), (), [table]) for text, table in titled if table]


SECTIONED: Mapping[str, tuple[str, Callable[[RunData, Styles], list[Section]]]] = {
    "accuracy": ("Accuracy", _accuracy),
    "overflow": ("Overflow", _overflow),
    "throughput": ("Throughput", _throughput),
    "device_throughput": ("On a device", _device),
    "limits": ("How far from the limit", _limits),
    "exhaustive": ("Exhaustive", _exhaustive),
    "worst_case": ("Worst cases", _worst_cases),
}
"""The pages that are lists of sections: heading and sections by key; others have templates."""
