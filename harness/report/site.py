"""Pages: the templates with what stands on each, and the files beside them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from harness.bounds import BOUNDS
from harness.records import (
    AccuracyRecord,
    AttentionRecord,
    ClaimRecord,
    ConformanceRecord,
    DeviceThroughputRecord,
    ExhaustiveRecord,
    OverflowRecord,
    Record,
    ThroughputRecord,
    TrainingRecord,
    WorstCaseRecord,
)
from harness.report import export
from harness.report.across.page import Page
from harness.report.across.plan import Across
from harness.report.drawing import style
from harness.report.drawing.figure import Plot, write
from harness.report.drawing.formatting import byte_count, integer
from harness.report.drawing.prose import TEMPLATES, prose
from harness.report.drawing.sanitize import link, readable, slugs
from harness.report.drawing.style import Style
from harness.report.drawing.tables import Table
from harness.report.pages import (
    card,
    claims,
    conformance,
    conformance_details,
    implementation,
    limits,
    pareto,
)
from harness.report.pages import overview as summary
from harness.report.pages.findings import findings
from harness.report.run_data import RunData
from harness.report.run_header import citation, flatten, headline_facts, measuring, sentence
from harness.report.sections import SECTIONED, of_conformance

STATIC = Path(__file__).parent / "static"
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
    ("attention", "Attention"),
    ("training", "Training"),
    ("claims", "Claims"),
    ("machine", "Machine"),
    ("method", "Method"),
    ("data", "Data"),
)
OPTIONAL: Mapping[str, type[Record]] = {
    "accuracy": AccuracyRecord,
    "overflow": OverflowRecord,
    "throughput": ThroughputRecord,
    "device_throughput": DeviceThroughputRecord,
    "conformance": ConformanceRecord,
    "exhaustive": ExhaustiveRecord,
    "worst_case": WorstCaseRecord,
    "attention": AttentionRecord,
    "training": TrainingRecord,
    "claims": ClaimRecord,
}
"""Pages of experiments that stand only where a run has records of them."""


def pages_of(run: RunData) -> list[tuple[str, str]]:
    """The pages of a run."""
    absent = {key for key, kind in OPTIONAL.items() if not run.select(kind)}
    if not limits.limited(run):
        absent.add("limits")
    return [(key, text) for key, text in PAGES if key not in absent]


@dataclass(frozen=True)
class Download:
    """A file of the data page, or a table for the archive of all."""

    href: str
    what: str
    size: str
    table: Table | None = None


class Script(NamedTuple):
    """The script of a page, and its SHA-256 for the policy that lets it run."""

    text: str
    digest: str


@lru_cache
def scripts(page: str) -> Script:
    """The script that goes into a page: one for all, with a plot on the overview; or ``none``."""
    files = {"index": ["report.js", "pareto.js"], "none": []}.get(page, ["report.js"])
    text = "".join((STATIC / name).read_text(encoding="utf-8") for name in files)
    text = re.sub(r"^/\*.*?\*/\n|^\s+", "", text, flags=re.MULTILINE | re.DOTALL)  # for the reader
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return Script(text, base64.b64encode(digest).decode("ascii"))


def style_sheet() -> str:
    """The style sheet of all pages: colours of figures and outcomes, and the rest."""
    rules = (STATIC / "style.css").read_text(encoding="utf-8")
    return f"{style.sheet()}\n{style.outcome_sheet()}{rules}"


class SitePart(NamedTuple):
    """What of a site is made in one go, by any process: a page of a run, and its files.

    Attributes:
        run: place of the run in `Site.runs`; -1 for what is made of several.
        page: a key of `PAGES`, where ``data`` stands for the records as files, or
            ``implementation``; of several runs a part of `Across.parts`.
        implementation: whose page.
    """

    run: int
    page: str
    implementation: str = ""


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
    env.filters.update(integer=integer, link=link, bytes=byte_count, measuring=measuring)
    env.globals.update(pages_of=pages_of, scripts=scripts)
    return env


@dataclass
class Site:
    """The folder that is being written.

    Attributes:
        runs: those whose pages are drawn.
        styles: of the implementations of each run, by its folder in the site.
        across: what several runs tell together; None for a site of one.
    """

    folder: Path
    runs: Sequence[RunData]
    styles: Mapping[str, Mapping[str, Style]]
    across: Across | None = None
    env: Environment = field(default_factory=environment)
    downloads: list[Download] = field(default_factory=list)  # of the part that is being made

    def _write(self, path: str, template: str, **context: Any) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        root = "../" * path.count("/")
        runs = self.across.runs if self.across else self.runs
        html = self.env.get_template(template).render(root=root, runs=runs, **context)
        target.write_text(readable(html), encoding="utf-8", newline="")

    def _page(
        self, run: RunData, path: str, title: str, template: str,
        shown: Iterable[Plot | Table | None] = (), **context: Any,
    ) -> None:  # fmt: skip
        """A page of a run; what is shown there also as files, which the data page offers."""
        for one in shown:
            if isinstance(one, Plot):
                write(one, self.folder / run.slug / "figures")
                if one.figure is not None:
                    self._offer(run, f"figures/{one.name}.svg", one.title)
                one = one.table
            if one is not None:
                self.downloads.append(Download("", one.caption, "", one))
        usual = {"active": path, "base": "", "facts": headline_facts(run.info)}
        usual |= {"run_sentence": sentence(run)}
        self._write(f"{run.slug}{path}.html", template, run=run, title=title, **(usual | context))

    def _csv(self, table: Table, slug: str = "") -> None:
        path = self.folder / slug / "data" / f"{table.name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table.to_csv(), encoding="utf-8", newline="")

    def _offer(self, run: RunData, href: str, what: str) -> None:
        """Put a file on the data page."""
        size = (self.folder / run.slug / href).stat().st_size
        self.downloads.append(Download(href, what, byte_count(size)))

    def _across(self, page: Page) -> None:
        """A page across runs, its figures, and its tables as files."""
        figures = self.folder / page.files / "figures"
        for part in page.shown:
            for plot in part.plots:
                figures.mkdir(parents=True, exist_ok=True)
                write(plot, figures)
            for table in (*(plot.table for plot in part.plots), *part.tables, *part.folded):
                self._csv(table, page.files)
        base = "../" * (page.path.count("/") - page.files.count("/"))
        menu = self.across.menu if self.across else ()
        plain = {"plain": True} if page.path.startswith("implementations/") else {}
        self._write(page.path, "across.html", title=page.title, active="", run=None, base=base,
                    page=page, menu=menu, **plain)  # fmt: skip

    def _implementation_pages(self, run: RunData, prefix: str = "") -> dict[str, str]:
        return {
            name: f"{prefix}implementations/{stem}.html"
            for name, stem in slugs(run.implementations).items()
        }

    def _available(self, run: RunData) -> dict[str, str]:
        """The pages of those that could run."""
        pages = self._implementation_pages(run)
        return {n: href for n, href in pages.items() if (a := run.about(n)) is None or a.available}

    def _matrix(self, run: RunData, prefix: str = "") -> Table:
        return summary.matrix(run, self._implementation_pages(run, prefix))

    def parts(self) -> list[SitePart]:
        """What can be made apart, in the order of the data page."""
        found = []
        for i, run in enumerate(self.runs):
            shown = {key for key, _ in pages_of(run)}
            pages = [key for key in (*SECTIONED, "conformance", "claims") if key in shown]
            found += [SitePart(i, page) for page in ("data", "index", *pages)]
            found += [SitePart(i, "implementation", name) for name in run.implementations]
        across = self.across.parts if self.across else ()
        return [*(SitePart(-1, part) for part in across), *found]

    def make(self, part: SitePart) -> list[Download]:
        """Write the page and the files of a part; the files for the data page."""
        if part.run < 0 and self.across:
            for page in self.across.make(part.page, self.folder):
                self._across(page)
            return []
        run = self.runs[part.run]
        self.downloads = []
        for name in ("figures", "data"):
            (self.folder / run.slug / name).mkdir(parents=True, exist_ok=True)
        if part.page in SECTIONED:
            self._sectioned(run, part.page)
        elif part.page == "implementation":
            self._implementation(run, part.implementation)
        else:
            others = {
                "data": self._cells,
                "index": self._overview,
                "conformance": self._conformance,
                "claims": self._claims,
            }
            others[part.page](run)
        return self.downloads

    def finish(self, made: Mapping[SitePart, Sequence[Download]]) -> None:
        """The pages that draw nothing, and the index, when all parts are made."""
        for i, run in enumerate(self.runs):
            machine = {k: v for k, v in run.info.machine.items() if k != "versions"}
            self._page(run, "machine", "Machine and versions", "machine.html",
                       machine=flatten(machine), plain=True)  # fmt: skip
            self._page(run, "method", "Method and limitations", "method.html",
                       bounds=BOUNDS.values(), plain=True)  # fmt: skip
            given = [(part, d) for part, found in made.items() if part.run == i for d in found]
            tables = {d.table.name: d.table for _, d in given if d.table is not None}
            own = {d.table.name for part, d in given if d.table and part.page == "implementation"}
            self.downloads = []
            if tables:
                path = self.folder / run.slug / "data" / "tables.zip"
                export.write_tables(
                    [t for n, t in tables.items() if n not in own],
                    [t for n, t in tables.items() if n in own], path,
                )  # fmt: skip
                self._offer(run, "data/tables.zip", "All tables as CSV, most as Markdown and LaTeX")
            files = [*self.downloads, *(d for _, d in given if d.table is None)]
            self._page(run, "data", "Data", "data.html", downloads=files,
                       tables=[(n, t.caption) for n, t in tables.items()], plain=True)  # fmt: skip
        for page in self.across.finish(self.folder) if self.across else ():
            self._across(page)

    def _cells(self, run: RunData) -> None:
        for path, what in export.write_cells(run, self.folder / run.slug / "data"):
            self._offer(run, f"data/{path.name}", what)

    def _overview(self, run: RunData) -> None:
        plot, matrix = pareto.pareto(run, self.styles[run.slug], "pareto"), self._matrix(run)
        first, later = findings(run)
        card.write(run, self.folder / run.slug / "card.png")
        self._offer(run, "card.png", "A picture of the result, for links to this page")
        self._page(run, "index", "Overview", "overview.html", [plot, matrix], first=first,
                   matrix=matrix, plot=plot, later=later, citation=citation(run),
                   choices=pareto.choices(run, self.styles[run.slug]), here=pareto.place(run),
                   pages=self._implementation_pages(run))  # fmt: skip

    def _sectioned(self, run: RunData, key: str) -> None:
        title, sections_of = SECTIONED[key]
        sections = [s for s in sections_of(run, self.styles[run.slug]) if s.plots or s.tables]
        shown = [one for s in sections for one in s.shown]
        self._page(run, key, title, "sections.html", shown,
                   sections=sections, lead=prose(f"{key}_lead"))  # fmt: skip

    def _conformance(self, run: RunData) -> None:
        sections = list(of_conformance(run))
        summary_table = conformance.summary(run, self._implementation_pages(run))
        deviations, known = conformance.deviations(run), conformance_details.known(run)
        shown = [summary_table, deviations, known, *(one for s in sections for one in s.shown)]
        self._page(run, "conformance", "Conformance", "conformance.html", shown,
                   lead=prose("conformance_lead"), sections=sections, summary=summary_table,
                   deviations=deviations, known=known, states=conformance.STATES)  # fmt: skip

    def _claims(self, run: RunData) -> None:
        tally, register = claims.tally(run), claims.register(run)
        title, lead = claims.heading(run)
        self._page(run, "claims", title, "claims.html", [tally, register],
                   lead=lead, tally=tally, register=register,
                   audits=claims.audits(run))  # fmt: skip

    def _implementation(self, run: RunData, name: str) -> None:
        pages = self._implementation_pages(run)
        path = pages[name].removesuffix(".html")
        stem = path.removeprefix("implementations/")
        about = run.about(name)
        # of who could not run there is nothing to draw but the others
        drawn = about is None or about.available
        stems = f"{stem}-accuracy"
        plots = [implementation.accuracy(run, name, self.styles[run.slug], stems)] if drawn else []
        maps = [t.under(stem) for t in implementation.maps(run, name)]
        speeds = implementation.speeds(run, name)
        speeds = speeds and speeds.under(stem)
        brief = implementation.brief(run, name).under(stem)
        troubles = implementation.not_ok(run, name)
        cases = conformance_details.of_implementation(run, name, "../")
        troubles, cases = troubles and troubles.under(stem), cases and cases.under(stem)
        self._page(
            run, path, name, "implementation.html",
            [*plots, brief, speeds, *maps, troubles, cases], maps=maps, speeds=speeds,
            active="implementations", base="../", name=name, about=about, plots=plots,
            brief=brief, troubles=troubles, compiled=summary.compile_outcome(run, name),
            status=summary.status_entry(run, name), cases=cases,
            conformance=conformance.told(run, name), **({} if drawn else {"plain": True}),
            bound=BOUNDS.get(about.bound or "") if about else None, others=self._available(run),
        )  # fmt: skip
