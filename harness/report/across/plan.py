"""Which pages across runs a site has, and what each is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.report.across import compared, history, implementations, libraries, pairs, runs
from harness.report.across.compared import Judge
from harness.report.across.page import Page
from harness.report.across.stored import Stored
from harness.report.drawing.style import styles
from harness.report.pieces import code, digest
from harness.report.run_data import RunData

_COMPARE = "compare.html"
MENU = (
    ("index.html", "Runs"),
    (_COMPARE, "Compare"),
    ("history.html", "History"),
    ("libraries.html", "Libraries"),
    ("implementations.html", "Implementations"),
)
OWN_FOLDERS = ("compare", "data", "figures", "implementations", "pairs", "static")
"""Folders in the root of a site, whose names no run may have for its own."""

_VERDICT = "verdict.json"


@dataclass(frozen=True, eq=False)
class Across:
    """What several runs tell together.

    Attributes:
        runs: oldest first, with the records that are kept (`kept`).
        stored: the same runs whole, where they have to be read.
        judge: how two runs are compared; None for a site without comparisons.
        made: folders of comparisons that are there already.
    """

    runs: Sequence[RunData]
    stored: Sequence[Stored]
    judge: Judge | None
    made: frozenset[str] = frozenset()

    @property
    def menu(self) -> list[tuple[str, str]]:
        """Address and name of the pages in the root."""
        return [(path, text) for path, text in MENU if self.judge or path != _COMPARE]

    @cached_property
    def _comparisons(self) -> Mapping[str, tuple[int, ...]]:
        """The places of the runs that each comparison is of, by its folder."""
        if self.judge is None:
            return {}
        place = {run.slug: k for k, run in enumerate(self.runs)}
        before = compared.predecessors(self.runs)
        found: dict[str, tuple[int, ...]] = {}
        for run in self.runs:
            if run.slug in before:
                found[compared.folder_of(run)] = place[before[run.slug].slug], place[run.slug]
        for run in pairs.most_timed(self.runs):
            found[pairs.folder_of(run)] = (place[run.slug],)
        return found

    @property
    def keys(self) -> Mapping[str, str]:
        """A digest of what each comparison depends on, by its folder; empty where it has none."""
        found = {}
        for folder, places in self._comparisons.items():
            of = [(self.stored[k].key, self.runs[k].slug) for k in places]
            known = all(key for key, _ in of)
            found[folder] = digest(code(), folder, *(t for o in of for t in o)) if known else ""
        return found

    @property
    def parts(self) -> list[str]:
        """What can be made apart by any process; what takes longest is in front."""
        apart = [folder for folder in self._comparisons if folder not in self.made]
        return [*apart, "history", "libraries", "implementations"]

    def make(self, part: str, folder: Path) -> Iterator[Page]:
        """The pages of a part, in the site in `folder`."""
        if part == "history":
            names = {name for run in self.runs for name in run.implementations}
            yield history.page(self.runs, styles(names))
        elif part == "libraries":
            yield libraries.page(self.runs)
        elif part == "implementations":
            yield implementations.index(self.runs)
            yield from implementations.pages(self.runs)
        elif self.judge is not None:
            first, *second = [self.stored[k].run for k in self._comparisons[part]]
            if not second:
                yield pairs.page(self.judge, first, part)
            else:
                page, told = compared.two_runs(self.judge, first, second[0], part)
                (folder / part).mkdir(parents=True, exist_ok=True)
                (folder / part / _VERDICT).write_text(json.dumps(told) + "\n", encoding="utf-8")
                yield page

    def finish(self, folder: Path) -> Iterator[Page]:
        """The pages that need all parts: of the runs, and of the comparisons."""
        yield runs.page(self.runs)
        if self.judge is None:
            return
        told, of_pairs = {}, {}
        for part, places in self._comparisons.items():
            slug = self.runs[places[-1]].slug
            if len(places) == 1:
                of_pairs[slug] = f"{part}index.html"
            else:
                text = (folder / part / _VERDICT).read_text(encoding="utf-8")
                told[slug] = json.loads(text)
        yield compared.page(self.runs, told, of_pairs)
