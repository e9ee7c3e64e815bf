"""Pages: which figures and tables stand on each, and the files beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from harness.report import (
    accuracy,
    accuracy_tables,
    claims,
    conformance,
    conformance_details,
    device,
    exhaustive,
    export,
    implementation_page,
    limits,
    method,
    overflow,
    pareto,
    summary,
    thresholds,
    throughput,
    throughput_conditions,
    throughput_tables,
    timings,
    worst_cases,
)
from harness.report.cells import REGIMES, RunData
from harness.report.facts import flatten, headline_facts
from harness.report.figure import Plot, write
from harness.report.findings import findings
from harness.report.names import link, slug, slugs
from harness.report.numbers import byte_count, integer
from harness.report.palette import Style
from harness.report.tables import Table

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"
PAGES = (
    ("index", "Overview"),
    ("accuracy", "Accuracy"),
    ("overflow", "Overflow"),
    ("throughput", "Throughput"),
    ("device_throughput", "On a device"),
    ("limits", "Limits"),
    ("conformance", "Conformance"),
    ("exhaustive", "Exhaustive"),
    ("worst_case", "Worst cases"),
    ("claims", "Claims"),
    ("machine", "Machine"),
    ("method", "Method"),
    ("data", "Data"),
)
OPTIONAL = ("device_throughput", "conformance", "exhaustive", "worst_case", "claims")


def pages_of(run: RunData) -> list[tuple[str, str]]:
    """The pages of a run: those of some experiments only where it has records of them."""
    return [
        (k, text)
        for k, text in PAGES
        if (limits.limited(run) if k == "limits" else k not in OPTIONAL or run.select(k))
    ]


@dataclass(frozen=True)
class Download:
    """A file of the data page."""

    href: str
    what: str
    size: str


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


def environment() -> Environment:
    """Templates; everything that is put into them is escaped."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(integer=integer, link=link, bytes=byte_count)
    env.globals.update(pages_of=pages_of)
    return env


@dataclass
class Site:
    """The folder that is being written."""

    folder: Path
    runs: Sequence[RunData]
    styles: Mapping[str, Style]
    env: Environment = field(default_factory=environment)

    def _page(self, path: str, template: str, title: str, active: str, **context: Any) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        root = "../" * path.count("/")
        html = self.env.get_template(template).render(
            title=title, active=active, root=root, runs=self.runs, **context
        )
        target.write_text(html, encoding="utf-8", newline="")

    def render_index(self) -> None:
        """With several runs, the page that lists them, a section each."""
        if len(self.runs) == 1:
            return
        entries = [
            (run, self._matrix(run, run.slug), findings(run), headline_facts(run.info))
            for run in self.runs
        ]
        self._page("index.html", "runs.html", "Runs", "", run=None, base="", entries=entries)

    def _implementation_pages(self, run: RunData, prefix: str = "") -> dict[str, str]:
        return {
            name: f"{prefix}implementations/{stem}.html"
            for name, stem in slugs(run.implementations).items()
        }

    def _matrix(self, run: RunData, prefix: str = "") -> Table:
        return summary.matrix(run, self._implementation_pages(run, prefix))

    def render_run(self, run: RunData) -> None:
        """All pages of a run."""
        for name in ("figures", "data"):
            (self.folder / run.slug / name).mkdir(parents=True, exist_ok=True)
        downloads: list[Download] = []
        overview = pareto.pareto(run, self.styles, "pareto")
        matrix = self._matrix(run)
        context: dict[str, Any] = {"run": run, "base": "", "facts": headline_facts(run.info)}
        self._save(run, [overview], [matrix], downloads)
        self._page(f"{run.slug}index.html", "overview.html", "Overview", "index", matrix=matrix,
                   plot=overview, findings=findings(run), **context)  # fmt: skip
        for key, sections in (
            ("accuracy", self._accuracy(run)),
            ("overflow", self._overflow(run)),
            ("throughput", self._throughput(run)),
        ):
            for section in sections:
                self._save(run, section.plots, [*section.tables, *section.details], downloads)
            self._page(f"{run.slug}{key}.html", "sections.html", key.capitalize(), key,
                       sections=sections, lead=method.LEADS[key], **context)  # fmt: skip
        if limits.limited(run):
            sections = self._limits(run)
            for section in sections:
                self._save(run, section.plots, [*section.tables, *section.details], downloads)
            self._page(f"{run.slug}limits.html", "sections.html", "How far from the limit",
                       "limits", sections=sections, lead=limits.LEAD, **context)  # fmt: skip
        if run.select("conformance"):
            self._conformance(run, downloads, context)
        for key, title, lead, sections in (
            ("device_throughput", "On a device", device.LEAD, self._device(run)),
            ("exhaustive", "Exhaustive", exhaustive.LEAD, self._exhaustive(run)),
            ("worst_case", "Worst cases", worst_cases.LEAD, self._worst_cases(run)),
        ):
            if run.select(key):
                for section in sections:
                    self._save(run, (), [*section.tables, *section.details], downloads)
                self._page(f"{run.slug}{key}.html", "sections.html", title, key,
                           sections=sections, lead=lead, **context)  # fmt: skip
        if run.select("claims"):
            self._claims(run, downloads, context)
        for name, path in self._implementation_pages(run).items():
            self._implementation(run, name, path, downloads)
        machine = {k: v for k, v in run.info.machine.items() if k != "versions"}
        self._page(f"{run.slug}machine.html", "machine.html", "Machine and versions", "machine",
                   machine=flatten(machine), **context)  # fmt: skip
        self._page(f"{run.slug}method.html", "method.html", "Method and limitations", "method",
                   terms=method.TERMS, bounds=method.bounds(), limitations=method.LIMITATIONS,
                   measured=method.MEASUREMENTS, **context)  # fmt: skip
        stored = export.write_cells(run, self.folder / run.slug / "data")
        downloads[:0] = [self._download(run, path, what) for path, what in stored]
        self._page(f"{run.slug}data.html", "data.html", "Data", "data",
                   downloads=downloads, **context)  # fmt: skip

    def _save(
        self,
        run: RunData,
        plots: Sequence[Plot],
        tables: Sequence[Table],
        downloads: list[Download],
    ) -> None:
        figures = self.folder / run.slug / "figures"
        for plot in plots:
            write(plot, figures)
            for suffix in ("csv", "svg", "png"):
                path = figures / f"{plot.name}.{suffix}"
                if path.exists():
                    downloads.append(self._download(run, path, plot.title))
        for table in tables:
            path = self.folder / run.slug / "data" / f"{table.name}.csv"
            path.write_text(table.to_csv(), encoding="utf-8", newline="")
            downloads.append(self._download(run, path, table.caption))

    def _download(self, run: RunData, path: Path, what: str) -> Download:
        href = path.relative_to(self.folder / run.slug).as_posix()
        return Download(href, what, byte_count(path.stat().st_size))

    def _accuracy(self, run: RunData) -> list[Section]:
        found = []
        for operation in run.operations("accuracy"):
            tail = "" if operation == "softmax" else slug(operation)
            head = "" if operation == "softmax" else f"{operation}, "
            for dtype in run.dtypes("accuracy"):
                key = "-".join(p for p in (slug(dtype), tail) if p)
                found.append(Section(
                    f"{head}{dtype}", key,
                    [accuracy.ulp_by_classes(run, dtype, operation, self.styles, f"ulp-{key}")],
                    [renamed(t, tail) for t in (
                        accuracy_tables.histogram(run, dtype, operation),
                        accuracy_tables.metrics(run, dtype, operation),
                        accuracy_tables.by_workload(run, dtype, operation),
                    )],
                ))  # fmt: skip
            found.append(Section(
                f"{head}scale of the logits".capitalize(), f"scale{tail}",
                [accuracy.ulp_by_scale(run, operation, self.styles, f"ulp-scale{tail}")],
            ))  # fmt: skip
            found.append(Section(
                f"{head}worst inputs".capitalize(), f"worst{tail}", (),
                [renamed(accuracy_tables.worst_inputs(run, operation), tail)],
            ))  # fmt: skip
        return found

    def _overflow(self, run: RunData) -> list[Section]:
        found = []
        for operation in run.operations("overflow"):
            tail = "" if operation == "softmax" else slug(operation)
            head = "" if operation == "softmax" else f"{operation}, "
            for dtype in run.dtypes("overflow"):
                key = "-".join(p for p in (slug(dtype), tail) if p)
                plots = []
                if overflow.map_cells(run, dtype, operation):
                    plots = [overflow.outcome_map(run, dtype, operation, f"map-{key}")]
                found.append(Section(
                    f"{head}{dtype}", key, plots,
                    [renamed(thresholds.thresholds(run, dtype, operation), tail)],
                    [renamed(thresholds.details(run, dtype, operation), tail)],
                ))  # fmt: skip
        return found

    def _throughput(self, run: RunData) -> list[Section]:
        found = []
        for group in timings.groups(run):
            key = slug(group.key)
            tables = [
                throughput_tables.ratios(run, group, regime)
                for regime in REGIMES
                if any(c.get("regime") == regime for c in timings.timed(run, group))
            ]
            more = [
                throughput_tables.allocation(run, group),
                throughput_tables.control_table(run, group),
                throughput_conditions.cold_caches(run, group),
                throughput_conditions.peak_memory(run, group),
            ]
            tables += [t for t in more if t is not None]
            plots = [throughput.by_classes(run, group, self.styles, f"throughput-{key}")]
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

    def _conformance(
        self, run: RunData, downloads: list[Download], context: Mapping[str, Any]
    ) -> None:
        sections = []
        for grid in conformance.grids(run):
            key = slug(grid.operation)
            telling, quiet = conformance.matrices(run, grid, key)
            sections.append(Section(
                grid.operation, key, (), [telling] if telling else [], [quiet] if quiet else [],
                evidence=conformance_details.details(run, grid),
            ))  # fmt: skip
        summary_table = conformance.summary(run, self._implementation_pages(run))
        deviations = conformance.deviations(run)
        known = conformance_details.known(run)
        tables = [t for t in (summary_table, deviations, known) if t is not None]
        for section in sections:
            tables += [*section.tables, *section.details]
        self._save(run, (), tables, downloads)
        self._page(f"{run.slug}conformance.html", "conformance.html", "Conformance", "conformance",
                   lead=method.LEADS["conformance"], sections=sections, summary=summary_table,
                   deviations=deviations, known=known, states=list(conformance.STATES.values()),
                   **context)  # fmt: skip

    def _limits(self, run: RunData) -> list[Section]:
        found = []
        for group in limits.limited(run):
            key = slug(group.key)
            plot = limits.by_classes(run, group, self.styles, f"limits-{key}")
            shown = limits.panels(run, group)
            tables = [renamed(limits.summary(run, group, panel), key) for panel in shown]
            found.append(Section(group.title, key, [plot], tables))
        return found

    def _device(self, run: RunData) -> list[Section]:
        found = []
        for regime, dtype in device.groups(run):
            shown = [device.speeds(run, regime, dtype), device.ratios(run, regime, dtype)]
            found.append(Section(device.title(regime, dtype), slug(f"{regime} {dtype}"), (), shown))
        for text, table in (
            (device.NOT_RUN, device.not_run(run)),
            ("Conditions", device.conditions(run)),
            ("Transfers", device.transfers(run)),
        ):
            if table is not None:
                found.append(Section(text, slug(text), (), [table]))
        return found

    def _exhaustive(self, run: RunData) -> list[Section]:
        found = []
        for table in exhaustive.tables_of(run):
            more = exhaustive.histogram(run, table)
            found.append(Section(
                exhaustive.title(table), slug(table), (), [exhaustive.judged_table(run, table)],
                [more] if more else [],
            ))  # fmt: skip
        return found

    def _worst_cases(self, run: RunData) -> list[Section]:
        titled = (("Searches", worst_cases.searched(run)), ("Corpus", worst_cases.replayed(run)))
        return [Section(text, slug(text), (), [table]) for text, table in titled if table]

    def _claims(self, run: RunData, downloads: list[Download], context: Mapping[str, Any]) -> None:
        tally, register = claims.tally(run), claims.register(run)
        self._save(run, (), [tally, register], downloads)
        self._page(f"{run.slug}claims.html", "claims.html", "Claims", "claims",
                   lead=method.LEADS["claims"], tally=tally, register=register,
                   audits=claims.audits(run), **context)  # fmt: skip

    def _implementation(
        self, run: RunData, name: str, path: str, downloads: list[Download]
    ) -> None:
        stem = path.removeprefix("implementations/").removesuffix(".html")
        plots = [
            implementation_page.accuracy(run, name, self.styles, f"{stem}-accuracy"),
            implementation_page.outcomes(run, name, f"{stem}-outcomes"),
        ]
        groups = timings.groups(run)
        for k, group in enumerate(groups[:1]):
            plots.append(
                throughput.by_classes(run, group, self.styles, f"{stem}-throughput-{k}", only=name)
            )
        tables = [renamed(implementation_page.brief(run, name), stem)]
        troubles = implementation_page.not_ok(run, name)
        details = [renamed(troubles, stem)] if troubles else []
        cases = conformance_details.of_implementation(run, name, "../")
        conformity = [renamed(cases, stem)] if cases else []
        self._save(run, plots, [*tables, *details, *conformity], downloads)
        about = run.about(name)
        self._page(
            f"{run.slug}{path}", "implementation.html", name, "implementations", run=run,
            base="../", facts=headline_facts(run.info), name=name, about=about, plots=plots,
            tables=tables, troubles=details, compiled=summary.compile_outcome(run, name),
            status=summary.status_entry(run, name), conformity=conformity,
            conformance=conformance.told(run, name),
            bound=method.bound_text(about.bound if about else None),
            others=self._implementation_pages(run),
        )  # fmt: skip


def renamed(table: Table, tail: str) -> Table:
    """The table under a name of its own within the site."""
    return table.under(tail) if tail else table
