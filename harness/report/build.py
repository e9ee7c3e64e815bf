"""From runs to a folder of pages, and from the verdict of a check to one: the files of a report.

The site is built in a temporary folder beside the wanted one and then put in its place, so that
an interrupted build leaves the old report whole. What of the old one still holds is copied
(`pieces`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import UserError, writing
from harness.records.reader import Run, each_run, tell_problems
from harness.report.across import kept
from harness.report.across.compared import Judge
from harness.report.across.plan import OWN_FOLDERS, Across
from harness.report.across.stored import Stored
from harness.report.drawing.sanitize import readable, slugs
from harness.report.drawing.style import styles
from harness.report.pieces import Pieces, code, digest
from harness.report.render import render
from harness.report.run_data import RunData, from_run
from harness.report.site import Site, environment, style_sheet

MARKER = ".softmax-bench-report"


class ReportError(UserError):
    """A report that cannot be made; the message is one line that says what to do."""


def build(results: Sequence[Path], output: Path, judge: Judge | None = None) -> Path:
    """Render the runs found under `results` as a static site; draw only what changed.

    Args:
        results: folders of runs, or folders that hold such folders.
        output: folder of the site; replaced where it holds an earlier report.
        judge: how runs are compared; None for a site without comparisons.

    Returns:
        The path of its ``index.html``.

    Raises:
        ReportError: no run is found, or `output` holds something that is no report.
    """
    found = each_run(list(results), Stored.at)
    if not found:
        places = ", ".join(str(p) for p in results)
        raise ReportError(
            f"results: expected folders with a run.json; found none under {places}; "
            f"`softmax-bench run` makes one"
        )
    return _build(found, output, None, judge)


def build_site(
    runs: Iterable[Run], output: Path, processes: int | None = None, judge: Judge | None = None
) -> Path:
    """Render runs that were already read; otherwise like `build`. `processes`: see `render`."""
    return _build([Stored(r.info, given=r) for r in runs], output, processes, judge)


def _build(
    found: Sequence[Stored], output: Path, processes: int | None, judge: Judge | None
) -> Path:
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ReportError(f"{output}: expected a folder; got a file; give another output")
    if output.exists() and any(output.iterdir()) and not (output / MARKER).exists():
        raise ReportError(
            f"{output}: expected an empty folder or an earlier report; it holds other files; "
            f"give another output"
        )
    found = sorted(found, key=lambda one: (one.info.created, one.info.id))
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        try:
            _write(found, work, output, processes, judge)
            work.chmod(0o755)
            old = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
            if output.exists():
                output.rename(old / "old")
            work.rename(output)
            shutil.rmtree(old)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return output / "index.html"


def run_folders(ids: Sequence[str]) -> list[str]:
    """A folder for each run: its id, behind a number where ids are equal."""
    if len(set(ids)) < len(ids):
        ids = [f"{i:04d} {one}" for i, one in enumerate(ids)]
    given = slugs([*OWN_FOLDERS, *ids])
    return [f"{given[one]}/" for one in ids]


def _write(
    found: Sequence[Stored], folder: Path, earlier: Path, processes: int | None,
    judge: Judge | None,
) -> None:  # fmt: skip
    (folder / MARKER).write_text("softmax-bench report; may be replaced by a later one\n")
    _write_style(folder)
    if len(found) == 1:
        run = from_run(found[0].run, "")
        _tell(found[0], run.problems)
        render(Site(folder, [run], {"": styles(run.implementations)}), processes)
        return
    pieces = Pieces(earlier, folder)
    drawn: list[RunData] = []
    brief: list[RunData] = []
    for one, slug in zip(found, run_folders([one.info.id for one in found]), strict=True):
        if not pieces.reuse(slug, one.key and digest(code(), slug, one.key)):
            drawn.append(from_run(one.run, slug))
            kept.write(one.run.records, one.run.problems, folder / slug)
        problems, records = kept.read(folder / slug)
        _tell(one, problems)
        brief.append(from_run(Run(one.path, one.info, records, problems), slug))
    across = Across(brief, found, judge)
    made = frozenset(piece for piece, key in across.keys.items() if pieces.reuse(piece, key))
    style = {run.slug: styles(run.implementations) for run in drawn}
    render(Site(folder, drawn, style, replace(across, made=made)), processes)
    pieces.write()


def _tell(one: Stored, problems: Sequence[str]) -> None:
    """Warn of what could not be read of a run; of one that was given, who read it has."""
    if one.given is None:
        tell_problems(one.path, problems)


def write_verdict(found: Any, folder: Path) -> Path:
    """Write ``index.html`` and its style sheet into `folder`, which is made where it is missing.

    Args:
        found: the verdict, as ``experiments.verdict.Report`` has it.

    Returns:
        The path of the page.

    Raises:
        UserError: `folder` cannot be written.
    """
    template = environment().get_template("verdict.html")
    title = f"{found.name}: {found.verdict}"
    html = template.render(title=title, active="", root="", run=None, runs=(), found=found)
    page = folder / "index.html"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write_style(folder)
        page.write_text(readable(html), encoding="utf-8", newline="")
    return page


def _write_style(folder: Path) -> None:
    (folder / "static").mkdir(exist_ok=True)
    sheet = folder / "static" / "style.css"
    sheet.write_text(style_sheet(), encoding="utf-8", newline="")
