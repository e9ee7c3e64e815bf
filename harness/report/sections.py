"""Sections: which figures and tables stand below each heading of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.records import AccuracyRecord, AttentionRecord, OverflowRecord
from harness.report import timing_selection
from harness.report.drawing.figure import Plot
from harness.report.drawing.sanitize import slug
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Table
from harness.report.pages import (
    accuracy,
    accuracy_tables,
    attention,
    attention_kernels,
    conformance,
    conformance_details,
    device,
    device_plots,
    exhaustive,
    limits,
    overflow,
    passes,
    thresholds,
    throughput,
    throughput_conditions,
    throughput_tables,
    training,
    worst_cases,
)
from harness.report.run_data import REGIMES, RunData

Styles = Mapping[str, Style]


class About(NamedTuple):
    """What a section is about, where that is one thing: a page is filtered by it."""

    operation: str = ""
    dtype: str = ""
    threads: str = ""


ANYTHING = About()


@dataclass(frozen=True)
class Section:
    """A heading with the figures and tables below it."""

    title: str
    id: str
    plots: Sequence[Plot]
    tables: Sequence[Table]
    details: Sequence[Table]
    evidence: Sequence[conformance_details.Detail] = ()
    about: About = ANYTHING

    @property
    def shown(self) -> list[Plot | Table]:
        """Its figures and tables, in the order of the page."""
        return [*self.plots, *self.tables, *self.details]


def _section(
    title: str,
    key: str,
    plots: Iterable[Plot | None] = (),
    tables: Iterable[Table | None] = (),
    details: Iterable[Table | None] = (),
    tail: str = "",
    about: About = ANYTHING,
) -> Section:
    """A section of what there is; `tail` makes the names of its tables its own."""

    def named(given: Iterable[Table | None]) -> list[Table]:
        return [t.under(tail) for t in given if t is not None]

    drawn = [p for p in plots if p is not None]
    return Section(title, key, drawn, named(tables), named(details), about=about)


def _of_operation(operation: str) -> tuple[str, str]:
    """Before a title, and behind the names of tables; softmax goes without saying."""
    return ("", "") if operation == "softmax" else (f"{operation}, ", slug(operation))


def _key(dtype: str, tail: str) -> str:
    """Of the section of a format."""
    return "-".join(p for p in (slug(dtype), tail) if p)


def _about(group: timing_selection.Group) -> About:
    threads = "" if group.threads is None else str(group.threads)
    return About(group.operation, group.dtype or "", threads)


def of_conformance(run: RunData) -> Iterator[Section]:
    """A section for each operation: the cases that tell implementations apart, and the others."""
    for grid in conformance.grids(run):
        key = slug(grid.operation)
        telling, quiet = conformance.matrices(run, grid, key)
        section = _section(grid.operation, key, (), [telling], [quiet])
        yield replace(section, evidence=conformance_details.details(run, grid))


def _accuracy(run: RunData, styles: Styles) -> Iterator[Section]:
    for operation in run.operations(AccuracyRecord):
        head, tail = _of_operation(operation)
        plots = [
            accuracy.ulp_by_classes(run, operation, styles, f"ulp{tail}"),
            accuracy.ulp_by_scale(run, operation, styles, f"ulp-scale{tail}"),
        ]
        yield _section(f"{head}all formats".capitalize(), f"all{tail}", plots)
        for dtype in run.dtypes(AccuracyRecord):
            tables = [
                accuracy_tables.metrics(run, dtype, operation),
                accuracy_tables.histogram(run, dtype, operation),
                accuracy_tables.by_workload(run, dtype, operation),
            ]
            key = _key(dtype, tail)
            yield _section(f"{head}{dtype}", key, (), tables, tail=tail,
                           about=About(operation, dtype))  # fmt: skip
        table = accuracy_tables.worst_inputs(run, operation)
        yield _section(f"{head}worst inputs".capitalize(), f"worst{tail}", (), [table], tail=tail)


def _overflow(run: RunData, styles: Styles) -> Iterator[Section]:
    for operation in run.operations(OverflowRecord):
        head, tail = _of_operation(operation)
        picture = overflow.lifelines(run, operation, f"lifelines{tail}")
        yield _section(f"{head}all formats".capitalize(), f"all{tail}", [picture])
        for dtype in run.dtypes(OverflowRecord):
            tables = [
                thresholds.thresholds(run, dtype, operation),
                overflow.by_offset(run, dtype, operation),
            ]
            details = thresholds.details(run, dtype, operation)
            key = _key(dtype, tail)
            yield _section(f"{head}{dtype}", key, (), tables, [details], tail,
                           About(operation, dtype))  # fmt: skip


def _throughput(run: RunData, styles: Styles) -> Iterator[Section]:
    for group in timing_selection.groups(run):
        key = slug(group.key)
        tables: list[Table | None] = [
            throughput_tables.ratios(run, group, regime)
            for regime in REGIMES
            if any(c.regime == regime for c in timing_selection.timed(run, group))
        ]
        tables += [
            *(passes.compared(run, group, regime) for regime in REGIMES),
            throughput_tables.allocation(run, group),
            throughput_tables.control_table(run, group),
            throughput_conditions.cold_caches(run, group),
            throughput_conditions.peak_memory(run, group),
        ]
        plot = throughput.by_classes(run, group, styles, f"throughput-{key}")
        details = [
            throughput_conditions.counters(run, group),
            throughput_conditions.preparation(run, group),
        ]
        yield _section(group.title, key, [plot], tables, details, key, _about(group))
    about = [throughput_conditions.conditions(run), throughput_conditions.doubts(run)]
    yield _section("Conditions and doubts", "conditions", (), about)
    yield _section("Not timed", "untimed", (), [throughput_tables.untimed(run)])


def _limits(run: RunData, styles: Styles) -> Iterator[Section]:
    for group in limits.limited(run):
        key = slug(group.key)
        plot = limits.by_classes(run, group, styles, f"limits-{key}")
        tables = [limits.summary(run, group, panel) for panel in limits.panels(run, group)]
        yield _section(group.title, key, [plot], tables, tail=key, about=_about(group))


def _device(run: RunData, styles: Styles) -> Iterator[Section]:
    for group in device.groups(run):
        plot = device_plots.by_classes(run, group, styles)
        tables = [device.speeds(run, group), device.ratios(run, group)]
        yield _section(device.title(group), group.key, [plot], tables)
    for title, table in (
        (device.NOT_RUN, device.not_run(run)),
        ("Conditions", device.conditions(run)),
        ("Transfers", device.transfers(run)),
    ):
        yield _section(title, slug(title), (), [table])


def _exhaustive(run: RunData, styles: Styles) -> Iterator[Section]:
    for table in exhaustive.tables_of(run):
        judged, histogram = exhaustive.judged_table(run, table), exhaustive.histogram(run, table)
        yield _section(exhaustive.title(table), slug(table), (), [judged], [histogram])


def _worst_cases(run: RunData, styles: Styles) -> Iterator[Section]:
    yield _section("Searches", slug("Searches"), (), [worst_cases.searched(run)])
    yield _section("Corpus", slug("Corpus"), (), [worst_cases.replayed(run)])


def _training(run: RunData, styles: Styles) -> Iterator[Section]:
    for kind in training.questions_of(run):
        yield _section(training.QUESTIONS[kind], kind, [training.answered(run, kind)])
    yield _section("Not trained", "untrained", (), [training.untrained(run)])


def _attention(run: RunData, styles: Styles) -> Iterator[Section]:
    if attention.records_of(run, "accuracy"):
        yield _section("Errors", "errors", [attention.errors(run)])
    if attention.records_of(run, "onset"):
        yield _section("Where scaled logits stop being finite", "onset", [attention.onset(run)])
    swept = attention_kernels.weights(run)
    if swept is not None:
        yield _section("Weights as kernels compute them", "weights", [swept])
    yield _section("A linear layer's cross-entropy", "layers", (), [attention_kernels.layers(run)])
    matrices = [attention.pairs(run, dtype) for dtype in run.dtypes(AttentionRecord)]
    yield _section("Disagreement", "disagreement", (), matrices)
    yield _section("Merged from parts", "merges", (), [attention.merges(run)])
    yield _section("Not measured", "unmeasured", (), [attention.unmeasured(run)])


SECTIONED: Mapping[str, tuple[str, Callable[[RunData, Styles], Iterator[Section]]]] = {
    "accuracy": ("Accuracy", _accuracy),
    "overflow": ("Overflow", _overflow),
    "throughput": ("Throughput", _throughput),
    "device_throughput": ("On a device", _device),
    "limits": ("How far from the limit", _limits),
    "exhaustive": ("Exhaustive", _exhaustive),
    "worst_case": ("Worst cases", _worst_cases),
    "attention": ("Attention", _attention),
    "training": ("Training", _training),
}
"""The pages that are lists of sections: heading and sections by key; others have templates."""
